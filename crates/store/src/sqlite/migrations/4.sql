-- Whether any session refers to an environment is asked before one is deleted.
CREATE INDEX sessions_by_environment ON sessions (environment);
