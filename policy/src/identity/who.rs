//! Somebody, as far as it is known.

use super::Mac;

/// Who has an address: an account, a device, an account on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who<'a> {
    /// Who logged in.
    pub account: Option<&'a str>,
    /// On which device.
    pub mac: Option<Mac>,
}

impl<'a> Who<'a> {
    /// A device.
    pub const fn device(mac: Mac) -> Self {
        Self { account: None, mac: Some(mac) }
    }

    /// What two say together. `None`: they contradict each other.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let contradicts = |a: bool, b: bool, same: bool| a && b && !same;
        if contradicts(self.account.is_some(), other.account.is_some(), self.account == other.account)
            || contradicts(self.mac.is_some(), other.mac.is_some(), self.mac == other.mac)
        {
            return None;
        }
        Some(Self { account: self.account.or(other.account), mac: self.mac.or(other.mac) })
    }
}
