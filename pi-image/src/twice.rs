//! Compares two builds: the same inputs give the same bytes, else no one could tell whether an image is made of the
//! sources it claims.

use std::path::{Path, PathBuf};

use crate::{BuildOutput, Error, Options, build, inspect};

/// Builds into `folder/one` and `folder/two`, and compares all files. The first build.
///
/// # Errors
/// If one cannot be built, or they are not the same: then it says where they begin to differ.
pub fn build_twice(options: &Options, folder: &Path) -> Result<BuildOutput, Error> {
    let build_in = |name: &str| build(&Options { out: Some(folder.join(name)), ..options.clone() });
    let one = build_in("one")?;
    // File systems count in steps of two seconds at most; what takes the time of day would differ now.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let two = build_in("two")?;
    for (first, second) in files(&one).into_iter().zip(files(&two)) {
        let [a, b] = [first, second].map(|path| std::fs::read(path).map_err(Error::file(path)));
        if let Some(at) = difference(&a?, &b?) {
            let place = if first == &one.image { inspect::place(first, at)? } else { format!("byte {at}") };
            return Err(Error::Other(format!("{} and {} differ: {place}", first.display(), second.display())));
        }
    }
    Ok(one)
}

/// All that was written; the image first, since a difference in it makes all others differ.
fn files(built: &BuildOutput) -> [&PathBuf; 4] {
    [&built.image, &built.compressed, &built.sbom, &built.sums]
}

/// Where they begin to differ.
fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (common < a.len() || common < b.len()).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_where_it_begins() {
        assert_eq!(difference(b"same", b"same"), None);
        assert_eq!(difference(b"same", b"some"), Some(1));
        assert_eq!(difference(b"same", b"same and more"), Some(4));
    }
}
