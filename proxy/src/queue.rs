//! The way from connections to the recorder's thread, and who may take how much of it.
//!
//! Memory is bounded for each plugin apart, so that one that makes more events than the disk takes
//! loses its own and nobody else's. What does not fit is counted for the plugin it concerns; the log
//! says so in a `gap` of that plugin.

use std::collections::HashMap;

use base::PluginId;
use evidence::{Draft, EventKind};
use tokio::sync::oneshot;

use crate::lent::LendAsked;
use crate::recorder::EvidenceUnavailable;

/// Where somebody waits for an event to count as written.
pub(crate) type Acknowledge = oneshot::Sender<Result<(), EvidenceUnavailable>>;
/// Where somebody waits for a checkpoint.
pub(crate) type CheckpointAsked = oneshot::Sender<Result<u64, String>>;

/// How much of memory and disk events may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceBudget {
    /// Bytes of events that wait in memory, of all plugins together. Beyond this each plugin has its
    /// fair part.
    pub queue_bytes: usize,
    /// Bytes of events of one plugin that wait in memory.
    pub plugin_queue_bytes: usize,
    /// Bytes of events that one plugin may add to the log in one day (UTC); absent means any number.
    pub plugin_bytes_per_day: Option<u64>,
}

impl Default for EvidenceBudget {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            plugin_queue_bytes: 8 << 20,
            plugin_bytes_per_day: None,
        }
    }
}

/// An event on its way.
pub(crate) struct Pending {
    pub(crate) draft: Draft,
    pub(crate) account: usize,
    /// What the account was charged; nothing for the recorder's own events.
    pub(crate) charged: usize,
    pub(crate) acknowledge: Option<Acknowledge>,
}

/// What one plugin has in memory and on disk; account 0 is of events that concern no plugin.
#[derive(Default)]
struct Account {
    plugin: Option<PluginId>,
    waiting_bytes: usize,
    bytes_today: u64,
    missing: Missing,
}

/// What one plugin's evidence lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Events that were not kept.
    pub(crate) lost: u64,
    /// Connections that went on without a record of their opening.
    pub(crate) unrecorded: u64,
    /// Why the first of them did not fit; absent where the sink had failed.
    pub(crate) overflow: Option<Overflow>,
}

impl Missing {
    pub(crate) const fn is_nothing(&self) -> bool {
        self.lost == 0 && self.unrecorded == 0
    }
}

/// Why an event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Queue,
    Day,
    Disk,
}

/// How the recorder's thread waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It does not: it looks into the queue before it does.
    #[default]
    No,
    /// For a moment; only what somebody waits for need wake it.
    Briefly,
    /// Until something comes.
    Long,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) events: Vec<Pending>,
    pub(crate) checkpoints: Vec<CheckpointAsked>,
    /// Somebody asks for the log itself.
    pub(crate) lend: Option<LendAsked>,
    pub(crate) closed: bool,
    pub(crate) parked: Parked,
    /// Work that was handed out is done.
    pub(crate) work_done: bool,
    /// Somebody waits for one of the events, and leaves the writing to others.
    pub(crate) urgent: bool,
    /// Something came since the clerk's own thread last looked.
    pub(crate) lively: bool,
    /// Some account has something missing.
    any_missing: bool,
    budget: EvidenceBudget,
    accounts: Vec<Account>,
    numbers: HashMap<PluginId, usize>,
    waiting_bytes: usize,
    /// The day that `bytes_today` is about, in days since 1970.
    today: u64,
    /// How many bytes the log's disk limit leaves; absent means any number.
    room: Option<u64>,
    /// Plugins that came near their limit of a day since somebody asked.
    near: Vec<PluginId>,
}

impl Queue {
    pub(crate) fn new(budget: EvidenceBudget) -> Self {
        Self {
            budget,
            accounts: vec![Account::default()],
            ..Self::default()
        }
    }

    /// The account of `plugin`.
    pub(crate) fn account(&mut self, plugin: Option<&PluginId>) -> usize {
        let Some(plugin) = plugin else {
            return 0;
        };
        if let Some(number) = self.numbers.get(plugin) {
            return *number;
        }
        let number = self.accounts.len();
        self.accounts.push(Account {
            plugin: Some(plugin.clone()),
            ..Account::default()
        });
        self.numbers.insert(plugin.clone(), number);
        number
    }

    /// Takes an event, where the budgets allow it; hands it back where they do not. The loss is the
    /// caller's to count.
    pub(crate) fn push(&mut self, mut pending: Pending) -> Result<(), (Pending, Overflow)> {
        let bytes = pending.draft.len_bytes();
        if let Some(overflow) = self.overflow(pending.account, bytes) {
            return Err((pending, overflow));
        }
        // What has begun may end, and the house's own acts must be told: an archive that could not be
        // bound would never make room again.
        let begins = matches!(pending.draft.kind(), EventKind::Open | EventKind::Refused);
        if begins && self.room.is_some_and(|room| bytes as u64 > room) {
            return Err((pending, Overflow::Disk));
        }
        if let Some(room) = &mut self.room {
            *room = room.saturating_sub(bytes as u64);
        }
        let account = &mut self.accounts[pending.account];
        account.waiting_bytes += bytes;
        let before = account.bytes_today;
        account.bytes_today += bytes as u64;
        if let (Some(most), Some(plugin)) = (self.budget.plugin_bytes_per_day, &account.plugin) {
            let near = most / 5 * 4;
            if before < near && account.bytes_today >= near {
                self.near.push(plugin.clone());
            }
        }
        self.waiting_bytes += bytes;
        self.lively = true;
        pending.charged = bytes;
        self.events.push(pending);
        Ok(())
    }

    fn overflow(&self, account: usize, bytes: usize) -> Option<Overflow> {
        let EvidenceBudget {
            queue_bytes,
            plugin_queue_bytes,
            plugin_bytes_per_day,
        } = self.budget;
        let (number, account) = (account, &self.accounts[account]);
        let is_plugin = number != 0;
        if is_plugin && plugin_bytes_per_day.is_some_and(|most| account.bytes_today + bytes as u64 > most) {
            return Some(Overflow::Day);
        }
        let would_wait = account.waiting_bytes + bytes;
        if would_wait > plugin_queue_bytes {
            return Some(Overflow::Queue);
        }
        if self.waiting_bytes + bytes <= queue_bytes {
            return None;
        }
        let others = self.accounts.iter().filter(|account| account.waiting_bytes > 0);
        (would_wait > queue_bytes / others.count().max(1)).then_some(Overflow::Queue)
    }

    /// Events that were taken are written, or are given up.
    pub(crate) fn release(&mut self, account: usize, bytes: usize) {
        let account = &mut self.accounts[account];
        account.waiting_bytes = account.waiting_bytes.saturating_sub(bytes);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }

    /// Where an account's losses are counted.
    pub(crate) fn missing(&mut self, account: usize) -> &mut Missing {
        self.any_missing = true;
        self.lively = true;
        &mut self.accounts[account].missing
    }

    /// Takes what is missing, for the log to say so.
    pub(crate) fn take_missing(&mut self) -> Vec<(Option<PluginId>, Missing)> {
        self.any_missing = false;
        let accounts = self.accounts.iter_mut();
        accounts
            .filter(|account| !account.missing.is_nothing())
            .map(|account| (account.plugin.clone(), std::mem::take(&mut account.missing)))
            .collect()
    }

    pub(crate) const fn is_missing_any(&self) -> bool {
        self.any_missing
    }

    /// The disk leaves so much; `None` for any number.
    pub(crate) const fn leave_room(&mut self, bytes: Option<u64>) {
        self.room = bytes;
    }

    /// Whether the disk's limit leaves no room for another opening.
    pub(crate) fn is_full(&self) -> bool {
        // Whatever an event is, it is smaller.
        self.room
            .is_some_and(|room| room < evidence::MAX_EVENT_BYTES as u64)
    }

    /// Takes the plugins that came near their limit of a day.
    pub(crate) fn take_near(&mut self) -> Vec<PluginId> {
        std::mem::take(&mut self.near)
    }

    /// A new day begins with a new disk budget.
    pub(crate) fn begin_day(&mut self, day: u64) {
        if self.today != day {
            self.today = day;
            for account in &mut self.accounts {
                account.bytes_today = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use evidence::{Event, EventKind};

    use super::*;

    fn draft(bytes: usize) -> Draft {
        let mut event = Event::new(EventKind::Close, base::Timestamp::from_unix_us(0), "gw");
        event.cause = Some(String::new());
        let empty = Draft::new(&event).unwrap().len_bytes();
        event.cause = Some("x".repeat(bytes - empty));
        Draft::new(&event).unwrap()
    }

    fn push(queue: &mut Queue, plugin: &str, bytes: usize) -> Option<Overflow> {
        let account = queue.account(Some(&plugin.parse().unwrap()));
        let pending = Pending {
            draft: draft(bytes),
            account,
            charged: 0,
            acknowledge: None,
        };
        queue.push(pending).err().map(|(_, overflow)| overflow)
    }

    fn queue(queue_bytes: usize, plugin_queue_bytes: usize) -> Queue {
        Queue::new(EvidenceBudget {
            queue_bytes,
            plugin_queue_bytes,
            plugin_bytes_per_day: None,
        })
    }

    #[test]
    fn a_plugin_over_its_budget_loses_its_own_events_and_nobody_elses() {
        let mut queue = queue(1 << 20, 1000);
        for _ in 0..5 {
            assert_eq!(push(&mut queue, "noisy", 200), None);
        }
        assert_eq!(push(&mut queue, "noisy", 200), Some(Overflow::Queue));
        assert_eq!(push(&mut queue, "quiet", 200), None);
        let noisy = queue.account(Some(&"noisy".parse().unwrap()));
        queue.release(noisy, 200);
        assert_eq!(push(&mut queue, "noisy", 200), None);
    }

    #[test]
    fn under_pressure_everybody_keeps_a_fair_part() {
        let mut queue = queue(1000, 1000);
        for _ in 0..5 {
            assert_eq!(push(&mut queue, "noisy", 200), None);
        }
        // The whole is full; who comes now still has half of it, and the noisy one no more.
        assert_eq!(push(&mut queue, "noisy", 200), Some(Overflow::Queue));
        assert_eq!(push(&mut queue, "quiet", 200), None);
        assert_eq!(push(&mut queue, "quiet", 200), None);
        assert_eq!(push(&mut queue, "quiet", 200), Some(Overflow::Queue));
        assert_eq!(push(&mut queue, "third", 200), None);
    }

    #[test]
    fn a_day_has_a_budget_and_the_next_day_another() {
        let mut queue = Queue::new(EvidenceBudget {
            plugin_bytes_per_day: Some(500),
            ..EvidenceBudget::default()
        });
        queue.begin_day(1);
        assert_eq!(push(&mut queue, "noisy", 400), None);
        assert_eq!(push(&mut queue, "noisy", 200), Some(Overflow::Day));
        assert_eq!(push(&mut queue, "quiet", 200), None);
        queue.begin_day(1);
        assert_eq!(push(&mut queue, "noisy", 200), Some(Overflow::Day));
        queue.begin_day(2);
        assert_eq!(push(&mut queue, "noisy", 200), None);
    }

    #[test]
    fn a_plugin_is_told_of_once_when_it_comes_near_its_limit_of_the_day() {
        let mut queue = Queue::new(EvidenceBudget {
            plugin_bytes_per_day: Some(1000),
            ..EvidenceBudget::default()
        });
        queue.begin_day(1);
        assert_eq!(push(&mut queue, "noisy", 700), None);
        assert_eq!(push(&mut queue, "quiet", 200), None);
        assert_eq!(queue.take_near(), []);
        for _ in 0..2 {
            assert_eq!(push(&mut queue, "noisy", 110), None);
        }
        assert_eq!(queue.take_near(), ["noisy".parse().unwrap()]);
        assert_eq!(queue.take_near(), []);
    }

    #[test]
    fn at_the_disks_limit_nothing_begins_and_what_has_begun_may_end() {
        let mut queue = Queue::new(EvidenceBudget::default());
        queue.leave_room(Some(40));
        assert!(queue.is_full());
        for (kind, taken) in [
            (EventKind::Open, Some(Overflow::Disk)),
            (EventKind::Refused, Some(Overflow::Disk)),
            (EventKind::Close, None),
            (EventKind::Archived, None),
        ] {
            let event = Event::new(kind, base::Timestamp::from_unix_us(0), "gw");
            let pending = Pending {
                draft: Draft::new(&event).unwrap(),
                account: 0,
                charged: 0,
                acknowledge: None,
            };
            let found = queue.push(pending).err().map(|(_, overflow)| overflow);
            assert_eq!(found, taken, "{kind:?}");
        }
        queue.leave_room(Some(1 << 20));
        assert!(!queue.is_full());
    }

    #[test]
    fn what_is_missing_is_told_once_and_by_plugin() {
        let mut queue = queue(1000, 1000);
        let account = queue.account(Some(&"noisy".parse().unwrap()));
        queue.missing(account).lost += 2;
        queue.missing(0).unrecorded += 1;
        assert!(queue.is_missing_any());
        let missing = queue.take_missing();
        let told: Vec<_> = missing
            .iter()
            .map(|(plugin, missing)| {
                (
                    plugin.as_ref().map(PluginId::as_str),
                    missing.lost,
                    missing.unrecorded,
                )
            })
            .collect();
        assert_eq!(told, [(None, 0, 1), (Some("noisy"), 2, 0)]);
        assert!(!queue.is_missing_any());
    }
}
