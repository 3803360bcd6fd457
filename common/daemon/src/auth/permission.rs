//! Permissions, as Lotus names and orders them.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What a caller may do; each is asked for by itself, none includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Look.
    Read,
    /// What workers do: take work and hand in results.
    Write,
    /// Let something be signed.
    Sign,
    /// What only an operator does.
    Admin,
}

impl Permission {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sign, Self::Admin];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sign => "sign",
            Self::Admin => "admin",
        })
    }
}

/// A text that names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a permission; they are read, write, sign and admin")]
pub struct PermissionError(String);

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::ALL
            .into_iter()
            .find(|p| p.to_string() == text)
            .ok_or_else(|| PermissionError(text.to_owned()))
    }
}

/// A set of permissions. As Lotus issues tokens, a level carries those below it:
/// see [`Permissions::up_to`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Everything.
    pub fn all() -> Self {
        Self::up_to(Permission::Admin)
    }

    /// `read` < `write` < `sign` < `admin`: that one and those before it.
    pub fn up_to(top: Permission) -> Self {
        Permission::ALL
            .into_iter()
            .filter(|p| p.bit() <= top.bit())
            .collect()
    }

    pub const fn allows(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, p| set | p.bit()))
    }
}
