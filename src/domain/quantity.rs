//! How many units one order takes.

/// 1 to 100 units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u8);

impl Quantity {
    /// What an order that names no quantity takes.
    pub const ONE: Quantity = Quantity(1);
    /// The largest order, in units.
    pub const MAX: u32 = 100;

    /// `None` outside 1 to 100.
    pub fn new(units: u64) -> Option<Quantity> {
        u8::try_from(units)
            .ok()
            .filter(|units| (1..=Self::MAX).contains(&u32::from(*units)))
            .map(Quantity)
    }

    /// The number of units.
    pub fn units(self) -> u32 {
        u32::from(self.0)
    }
}
