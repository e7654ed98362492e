//! What every store does. Each test is run on every store; a test that isn't in the list below is dead code.

mod append;
mod blobs;
mod deletion;
pub(crate) mod forks;
mod lists;
mod recovery;
mod resources;
mod settings;
mod tail;

/// A store of its own for each test; the folder of one on disk lives as long as the guard.
macro_rules! suite {
    ($($area:ident: $($test:ident),+;)+) => {
        mod memory {
            $(mod $area {$(
                #[tokio::test]
                async fn $test() {
                    crate::conformance::$area::$test(std::sync::Arc::new(tenure_store::memory::MemoryStore::new())).await;
                }
            )+})+
        }
        mod sqlite {
            $(mod $area {$(
                #[tokio::test]
                async fn $test() {
                    let dir = tempfile::tempdir().unwrap();
                    let store = crate::sqlite::open(dir.path());
                    crate::conformance::$area::$test(std::sync::Arc::new(store)).await;
                }
            )+})+
        }
    };
}

suite! {
    append:
        facts_read_back_in_order,
        the_wrong_place_is_a_conflict,
        of_two_at_once_one_succeeds,
        an_unsound_append_stores_nothing,
        an_append_to_nothing_is_gone,
        queries_select_and_order,
        times_bound_queries,
        everything_is_written_together_or_not_at_all,
        an_answer_is_kept_for_a_request_that_changed_nothing,
        an_answer_is_kept_until_it_expires,
        a_state_is_kept_for_a_session_that_exists;
    blobs:
        bytes_read_back,
        a_big_fact_reads_back,
        a_sweep_spares_what_is_named;
    deletion:
        nothing_is_left,
        a_deleted_session_takes_nothing_more,
        feed_positions_are_not_given_again;
    forks:
        a_fork_begins_with_the_others_facts,
        a_fork_of_a_fork,
        a_fork_that_cannot_be_leaves_nothing,
        queries_leave_out_what_is_skipped;
    lists:
        pages_both_ways_through_equal_times,
        pages_within_a_span_of_time,
        filters,
        labels,
        an_archived_session_is_listed_on_request,
        prefixes;
    recovery:
        due_sessions_come_in_their_order,
        unsettled_sessions_are_found,
        ids_are_walked;
    resources:
        an_agent_has_versions,
        slugs_are_unique_within_a_tenant,
        an_outdated_update_is_a_conflict,
        archiving_makes_no_version,
        agents_are_listed,
        environments,
        an_environment_goes_once_no_session_refers_to_it,
        keys,
        an_answer_is_kept_with_a_resource;
    settings:
        secrets_and_settings;
    tail:
        from_any_place,
        live_without_a_seam,
        a_slow_follower_loses_nothing,
        many_followers_share_facts,
        it_ends_with_the_session,
        of_an_unknown_session;
}
