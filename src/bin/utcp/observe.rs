//! Calls of programs on the kernel's stack, as the shim notes them.

use crate::model::Event;
use crate::sides::Side;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// With this variable set to a file's name, the shim sends every call to the kernel and
/// appends a line of JSON to the file before and after it.
pub const VARIABLE: &str = "UTCP_OBSERVE";

/// A file of notes that grows while programs run.
pub struct Notes {
    path: PathBuf,
    side: Side,
    file: Option<File>,
    /// The beginning of a line whose end is still to come.
    rest: Vec<u8>,
}

impl Notes {
    /// What the programs on this side write to `path`.
    pub fn new(path: &Path, side: Side) -> Notes {
        Notes {
            path: path.to_owned(),
            side,
            file: None,
            rest: Vec::new(),
        }
    }

    /// Whose notes these are.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The events since the last time.
    pub fn read(&mut self) -> Vec<Event> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut self.rest);
        }
        let whole = self
            .rest
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        String::from_utf8_lossy(&lines)
            .lines()
            .filter_map(event)
            .collect()
    }
}

/// One line of notes (docs/observe.md): an event's own form.
fn event(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Call, What};
    use std::io::Write;

    #[test]
    fn a_note_is_an_event() {
        let line = r#"{"time":7,"pid":8,"tid":9,"event":"return","name":"accept","fd":3,"args":"127.0.0.1:4, [16]","ret":4,"errno":0,"local":"127.0.0.1:9000","peer":"127.0.0.1:4","state":"ESTABLISHED"}"#;
        let got = event(line).unwrap();
        let call = Call {
            name: "accept".to_owned(),
            fd: 3,
            args: "127.0.0.1:4, [16]".to_owned(),
        };
        let want = What::Return {
            call,
            ret: 4,
            errno: 0,
            local: Some("127.0.0.1:9000".to_owned()),
        };
        assert_eq!((got.time, got.pid, got.what), (7, 8, want));
        assert_eq!(event("{"), None);
    }

    #[test]
    fn half_a_line_waits_for_the_other_half() {
        let path = std::env::temp_dir().join(format!("utcp-notes-{}", std::process::id()));
        let mut notes = Notes::new(&path, Side::Client);
        assert!(notes.read().is_empty());
        let line = r#"{"time":1,"pid":2,"tid":2,"event":"enter","name":"close","fd":3,"args":""}"#;
        let (first, second) = line.split_at(20);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(first.as_bytes()).unwrap();
        assert!(notes.read().is_empty());
        file.write_all(format!("{second}\n").as_bytes()).unwrap();
        assert_eq!(notes.read().len(), 1);
        assert!(notes.read().is_empty());
        std::fs::remove_file(path).unwrap();
    }
}
