//! State of the Pi that this process runs on, if it was started from the SD card: `bramble pi`, which may do everything
//! there and listens to no one, writes it into a file, and here it is read.

pub(crate) mod routes;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bramble_pi::state::State as Pi;
use serde::Serialize;

/// Longest file that is read; it is some 2 KiB long.
const MAX_FILE: u64 = 64 << 10;

/// Age from which the file is outdated. It is written every two seconds; after this long its writer hangs.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// The state that was read, and its age.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PiReport {
    #[serde(flatten)]
    pub(crate) pi: Pi,
    /// Seconds since it was written.
    #[serde(rename = "age_s")]
    pub(crate) age: u64,
}

impl PiReport {
    /// A warning if the report is out of date.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.age > GOOD_FOR.as_secs()).then(|| {
            format!(
                "This was written {} s ago, and should be every two seconds: the program that looks after the Pi hangs. \
                 If the watchdog does not restart the Pi within a minute, pull the plug and put it in again.",
                self.age
            )
        })
    }

    /// How many things are wrong.
    pub(crate) fn problems(&self) -> usize {
        self.pi.problems.len() + usize::from(self.age > GOOD_FOR.as_secs())
    }
}

/// Reads the state of the Pi, or returns a sentence that says why it is unknown.
pub(crate) fn read(file: &Path) -> Result<PiReport, String> {
    let name = file.display();
    let (text, age) = read_text(file).map_err(|error| {
        format!(
            "{name} cannot be read ({error}): the program that looks after the Pi, bramble pi, has not written it yet."
        )
    })?;
    let pi = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("{name} is not what bramble pi writes (line {line}, column {column}): are both of the same version?")
    })?;
    Ok(PiReport { pi, age })
}

fn read_text(file: &Path) -> io::Result<(String, u64)> {
    let meta = std::fs::metadata(file)?;
    if !meta.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = String::new();
    let length = File::open(file)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    // The clock of a Pi is set while it runs; what was written in the future was written just now.
    let age = SystemTime::now().duration_since(meta.modified()?).unwrap_or_default();
    Ok((text, age.as_secs()))
}

#[cfg(test)]
mod tests;
