//! Errors for people: what happened, why, and the command that mends it.

use std::fmt;

/// What went wrong, as one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    what: String,
    why: String,
    mend: Option<String>,
}

impl Trouble {
    /// `what` could not be done because of `why`.
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> Trouble {
        Trouble {
            what: what.into(),
            why: why.to_string(),
            mend: None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(mut self, how: impl Into<String>) -> Trouble {
        self.mend = Some(how.into());
        self
    }

    /// What another process of ours said.
    pub fn relayed(line: String) -> Trouble {
        Trouble {
            what: line,
            why: String::new(),
            mend: None,
        }
    }

    /// The last system call failed.
    pub fn last(what: impl Into<String>) -> Trouble {
        Trouble::new(what, std::io::Error::last_os_error())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        match &self.mend {
            Some(how) => write!(f, "; {how}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trouble {}

/// What commands return.
pub type Result<T> = std::result::Result<T, Trouble>;
