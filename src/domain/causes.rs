//! An error with its causes, as one text for a log or a terminal.
//!
//! No error type here repeats its cause's text, so the outermost alone says what was tried and never why it
//! failed: "the store could not commit", but not that the disk is full. Every log format takes this text
//! whole.
//!
//! Never here: an answer to a caller. What went wrong inside is nobody's business outside.

use std::error::Error;
use std::fmt;

/// Shows an error and its causes, the outermost first, with `: ` between.
#[derive(Debug)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn an_error_is_shown_down_to_its_last_cause() {
        let disk = Layer("no space left", None);
        assert_eq!(Causes(&disk).to_string(), "no space left");
        let commit = Layer("cannot commit", Some(Layer("write failed", Some(disk.into())).into()));
        assert_eq!(Causes(&commit).to_string(), "cannot commit: write failed: no space left");
    }
}
