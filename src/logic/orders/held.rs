//! What a group holds for its lane and lets go of on its way: the right to take the next one.

/// Something whose drop says "go on".
pub type Held = Box<dyn Send + Sync>;

/// How far a group has come when it lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All is decided; the write and COMMIT are left.
    Decided,
    /// All is written; COMMIT is left.
    Written,
}

/// It, while it is held.
#[derive(Default)]
pub(super) struct Kept(Option<(Held, Until)>);

impl Kept {
    /// Holds it for so long.
    pub(super) fn until(held: Option<Held>, until: Until) -> Kept {
        Kept(held.map(|held| (held, until)))
    }

    /// The group has come so far.
    pub(super) fn reached(&mut self, now: Until) {
        drop(self.0.take_if(|(_, until)| *until == now));
    }

    /// It never came so far.
    pub(super) fn into_inner(self) -> Option<Held> {
        self.0.map(|(held, _)| held)
    }
}
