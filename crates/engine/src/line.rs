//! Who waits for something there isn't enough of: first come, first served within a tenant, and tenants take turns, so that
//! one who asks for much makes nobody else wait longer than its own turn.

use std::collections::VecDeque;

use tenure_core::id::TenantId;
use tenure_core::time::Timestamp;

/// A line of those who wait.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// The tenants with somebody in the line, the next one first.
    tenants: VecDeque<(TenantId, VecDeque<(T, Timestamp)>)>,
    len: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { tenants: VecDeque::new(), len: 0 }
    }
}

impl<T> Line<T> {
    /// Joins, behind the tenant's others.
    pub(crate) fn join(&mut self, tenant: TenantId, who: T, now: Timestamp) {
        self.len += 1;
        match self.tenants.iter_mut().find(|(known, _)| *known == tenant) {
            Some((_, line)) => line.push_back((who, now)),
            None => self.tenants.push_back((tenant, VecDeque::from([(who, now)]))),
        }
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> Option<T> {
        let (tenant, mut line) = self.tenants.pop_front()?;
        let (who, _) = line.pop_front()?;
        self.len -= 1;
        if !line.is_empty() {
            self.tenants.push_back((tenant, line));
        }
        Some(who)
    }

    /// Takes out whoever doesn't wait any more.
    pub(crate) fn leave(&mut self, gone: impl Fn(&T) -> bool) {
        for (_, line) in &mut self.tenants {
            line.retain(|(who, _)| !gone(who));
        }
        self.tenants.retain(|(_, line)| !line.is_empty());
        self.len = self.tenants.iter().map(|(_, line)| line.len()).sum();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Since when the one that has waited longest does.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.tenants.iter().filter_map(|(_, line)| line.front()).map(|(_, since)| *since).min()
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::id::TenantId;
    use tenure_core::time::Timestamp;

    use super::Line;

    #[test]
    fn a_tenant_with_many_makes_nobody_else_wait_longer_than_its_turn() {
        let (many, few) = (TenantId::from_bits(1), TenantId::from_bits(2));
        let mut line = Line::default();
        for number in 0..100 {
            line.join(many, number, Timestamp::from_micros(number));
        }
        line.join(few, 1_000, Timestamp::from_micros(200));
        line.join(few, 1_001, Timestamp::from_micros(201));
        let first: Vec<i64> = std::iter::from_fn(|| line.next()).take(6).collect();
        assert_eq!(first, [0, 1_000, 1, 1_001, 2, 3]);
    }

    #[test]
    fn who_leaves_is_not_counted() {
        let (one, other) = (TenantId::from_bits(1), TenantId::from_bits(2));
        let mut line = Line::default();
        for (tenant, number) in [(one, 3), (one, 4), (other, 5)] {
            line.join(tenant, number, Timestamp::from_micros(number));
        }
        line.leave(|number| *number == 3 || *number == 5);
        assert_eq!((line.len(), line.since()), (1, Some(Timestamp::from_micros(4))));
        assert_eq!((line.next(), line.next(), line.len(), line.since()), (Some(4), None, 0, None));
    }
}
