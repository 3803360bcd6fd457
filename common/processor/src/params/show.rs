//! What parameter work tells while it goes on, and how a terminal shows it.

use damocles_types::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, sync::Mutex, time::Duration};

/// News of making or fetching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another process makes parameters in the same directory.
    WaitingForOther {
        lock: String,
    },
    /// It is there, nothing is to be done for it: "PoRep parameters of 2KiB sectors".
    Have {
        what: String,
    },
    Making {
        what: String,
    },
    /// How far the making is, in the maker's words.
    Step {
        text: String,
    },
    Made {
        what: String,
        took: Duration,
    },
    /// A download begins, perhaps in the middle.
    Fetching {
        name: String,
        from: u64,
        total: Option<u64>,
    },
    /// Bytes of the file that are here.
    Fetched {
        bytes: u64,
    },
    /// The connection was lost; another try goes on from `bytes`.
    Again {
        name: String,
        bytes: u64,
        reason: String,
    },
    Checking {
        name: String,
    },
    /// Decoding, and writing what came out.
    Converting {
        name: String,
    },
    Got {
        name: String,
    },
}

/// Whoever wants to hear it.
pub trait Watcher: Sync {
    fn event(&self, event: Event);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watcher for Silent {
    fn event(&self, _: Event) {}
}

/// A spinner or bar on a terminal; plain lines on stderr elsewhere.
#[derive(Debug)]
pub struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
    live: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            bar: Mutex::new(None),
            live: std::io::stderr().is_terminal(),
        }
    }
}

impl Terminal {
    fn put(&self, bar: Option<ProgressBar>) {
        let mut slot = self
            .bar
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(old) = slot.take() {
            old.finish_and_clear();
        }
        *slot = bar;
    }

    fn line(&self, text: &str) {
        self.put(None);
        eprintln!("{text}");
    }

    fn spin(&self, text: String) {
        if !self.live {
            return self.line(&text);
        }
        let style = ProgressStyle::with_template("{spinner} {msg}{prefix} {elapsed_precise}");
        let bar = ProgressBar::new_spinner().with_message(text);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.put(Some(bar));
    }

    fn start_download(&self, name: &str, from: u64, total: Option<u64>) {
        let size = total.map_or_else(String::new, |t| format!(" ({})", ByteSize(t)));
        if !self.live {
            return self.line(&format!(
                "fetching {name}{size}, {} here already",
                ByteSize(from)
            ));
        }
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        let bar = ProgressBar::new(total.unwrap_or(0)).with_message(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(from);
        self.put(Some(bar));
    }
}

impl Watcher for Terminal {
    fn event(&self, event: Event) {
        match event {
            Event::WaitingForOther { lock } => {
                self.spin(format!(
                    "another process is making parameters (it holds {lock}); waiting"
                ));
            }
            Event::Have { what } => self.line(&format!("here already: {what}")),
            Event::Making { what } => self.spin(format!("making {what}")),
            Event::Made { what, took } => {
                self.line(&format!("made {what} in {} s", took.as_secs()));
            }
            Event::Fetching { name, from, total } => self.start_download(&name, from, total),
            // on a terminal only: elsewhere the lines say when a set begins and when it is made
            Event::Step { text } => {
                if let Ok(bar) = self.bar.lock()
                    && let Some(bar) = &*bar
                {
                    bar.set_prefix(format!(" ({text})"));
                }
            }
            Event::Fetched { bytes } => {
                if let Ok(bar) = self.bar.lock()
                    && let Some(bar) = &*bar
                {
                    bar.set_position(bytes);
                }
            }
            Event::Again {
                name,
                bytes,
                reason,
            } => {
                self.line(&format!(
                    "{name}: {reason}; going on from {}",
                    ByteSize(bytes)
                ));
            }
            Event::Checking { name } => self.spin(format!("checking {name}")),
            Event::Converting { name } => self.spin(format!("converting {name}")),
            Event::Got { name } => self.line(&format!("fetched {name}")),
        }
    }
}
