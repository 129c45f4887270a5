//! A list of what is in the image that other programs read: SPDX 2.3, as JSON. <https://spdx.github.io/spdx-spec/v2.3/>

use std::path::Path;

use serde_json::{Value, json};

use crate::Error;
use crate::compile::Target;
use crate::contents::{self, From, Part};

const IMAGE: &str = "SPDXRef-Image";

/// Subject of the list: the image or the program.
pub(crate) struct Subject<'a> {
    /// `bramble-pi2-0.2.0.img`
    pub(crate) file: &'a str,
    pub(crate) version: &'a str,
    pub(crate) sha256: &'a str,
    /// Seconds since 1970.
    pub(crate) time: u32,
}

/// The document.
pub(crate) fn document(subject: &Subject<'_>, parts: &[Part]) -> Value {
    let image = json!({
        "SPDXID": IMAGE, "name": subject.file, "versionInfo": subject.version, "packageFileName": subject.file,
        "primaryPackagePurpose": "OPERATING-SYSTEM", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.sha256 }],
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
    });
    let packages: Vec<Value> = std::iter::once(image).chain(parts.iter().map(package)).collect();
    let describes = relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE);
    let contains = parts.iter().map(|part| relationship(IMAGE, "CONTAINS", &id(part)));
    json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": subject.file,
        "documentNamespace": format!("https://example.org/bramble/spdx/{}-{}", subject.file, subject.sha256),
        "creationInfo": { "created": utc(subject.time), "creators": ["Tool: bramble-pi-image"] },
        "packages": packages,
        "relationships": std::iter::once(describes).chain(contains).collect::<Vec<_>>(),
        "hasExtractedLicensingInfos": parts.iter().filter_map(extracted).collect::<Vec<_>>(),
    })
}

/// List of the program alone: `file`, compiled for `target`, of this SHA-256; `time` in seconds since 1970. As JSON.
///
/// # Errors
/// If cargo cannot say what is linked.
pub fn of_program(workspace: &Path, target: Target, file: &str, sha256: &str, time: u32) -> Result<String, Error> {
    let subject = Subject { file, version: env!("CARGO_PKG_VERSION"), sha256, time };
    let mut document = document(&subject, &contents::crates(workspace, target)?);
    document["packages"][0]["primaryPackagePurpose"] = "APPLICATION".into();
    let mut text = serde_json::to_string_pretty(&document).expect("it has only strings as keys");
    text.push('\n');
    Ok(text)
}

fn package(part: &Part) -> Value {
    let (location, locator, sum, licence) = match &part.from {
        From::Debian(package, _) => (
            format!("http://deb.debian.org/{}/{}", package.archive(), package.pool),
            format!("pkg:deb/debian/{}@{}?arch={}", part.name, escaped(&part.version), package.arch),
            Some(&package.sha256),
            licence_id(part),
        ),
        From::Crate(sum) => (
            match sum {
                Some(_) => format!("https://crates.io/crates/{}/{}", part.name, part.version),
                None => "NOASSERTION".to_owned(),
            },
            format!("pkg:cargo/{}@{}", part.name, escaped(&part.version)),
            sum.as_ref(),
            part.licence.clone(),
        ),
        From::Compiler => (
            "NOASSERTION".to_owned(),
            format!("pkg:generic/{}@{}", part.name, escaped(&part.version)),
            None,
            part.licence.clone(),
        ),
    };
    let mut value = json!({
        "SPDXID": id(part), "name": part.name, "versionInfo": part.version, "downloadLocation": location,
        "filesAnalyzed": false, "licenseConcluded": "NOASSERTION", "licenseDeclared": licence, "copyrightText": "NOASSERTION",
        "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator }],
    });
    if let Some(sum) = sum {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sum }]);
    }
    value
}

/// Debian names licences in its own way, so each package's text is a licence of its own here.
fn extracted(part: &Part) -> Option<Value> {
    let From::Debian(_, text) = &part.from else { return None };
    let name = format!("Copyright file of Debian's package {}: {}", part.name, part.licence);
    Some(json!({ "licenseId": licence_id(part), "name": name, "extractedText": text }))
}

fn licence_id(part: &Part) -> String {
    format!("LicenseRef-Debian-{}", plain(&part.name))
}

fn id(part: &Part) -> String {
    let from = match part.from {
        From::Debian(..) => "Debian",
        From::Crate(_) => "Crate",
        From::Compiler => "Compiler",
    };
    format!("SPDXRef-{from}-{}-{}", plain(&part.name), plain(&part.version))
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// With what an identifier may have: letters, digits, dots and dashes.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' }).collect()
}

/// As a package URL wants a version.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '+' => "%2B".to_owned(),
            ':' => "%3A".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

/// `2026-11-22T02:06:57Z`. The calendar is Howard Hinnant's, <https://howardhinnant.github.io/date_algorithms.html>.
fn utc(time: u32) -> String {
    let (days, second) = (time / 86_400, time % 86_400);
    let shifted = days + 719_468; // from 0000-03-01; years begin in March, so that the leap day is the last
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::compile::Target;
    use crate::contents;
    use crate::packages::Lock;

    fn workspace() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
    }

    fn all_parts() -> Vec<Part> {
        let lock = Lock::read(&workspace().join("pi-image/packages.lock")).expect("a lock");
        let debian = lock.packages().filter(|package| !package.is_of_compiler()).map(|package| Part {
            from: From::Debian(package.clone(), "its text".to_owned()),
            name: package.name.clone(),
            version: package.version.clone(),
            licence: "GPL-2".to_owned(),
        });
        debian.chain(contents::crates(workspace(), Target::Armv7).expect("cargo tree")).collect()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(utc(1_795_313_217), "2026-11-22T02:06:57Z");
    }

    #[test]
    fn every_package_of_the_lock_and_every_crate_is_in_the_list_once() {
        let subject = Subject { file: "a.img", version: "0.2.0", sha256: "00", time: 0 };
        let parts = all_parts();
        let document = document(&subject, &parts);
        let packages = document["packages"].as_array().expect("a list");
        assert_eq!(packages.len(), parts.len() + 1);
        let ids: BTreeSet<&str> = packages.iter().filter_map(|package| package["SPDXID"].as_str()).collect();
        assert_eq!(ids.len(), packages.len(), "identifiers are unique");
        let lock = Lock::read(&workspace().join("pi-image/packages.lock")).expect("a lock");
        let busybox = lock.card("busybox-static").expect("it is there");
        let found = packages.iter().find(|package| package["name"] == "busybox-static").expect("it is listed");
        assert_eq!(found["versionInfo"], busybox.version.as_str());
        assert_eq!(found["checksums"][0]["checksumValue"], busybox.sha256.as_str());
        assert!(!packages.iter().any(|package| package["name"] == "rustc-web"), "a compiler is not on the card");
    }

    #[test]
    fn the_list_of_the_program_alone_has_its_crates_and_nothing_of_debian() {
        let text = of_program(workspace(), Target::Amd64, "bramble-amd64", "00", 0).expect("cargo tree");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let packages = document["packages"].as_array().expect("a list");
        assert_eq!(packages[0]["primaryPackagePurpose"], "APPLICATION");
        assert!(packages.iter().any(|package| package["name"] == "hyper"));
        assert!(!packages.iter().any(|package| package["SPDXID"].as_str().is_some_and(|id| id.contains("-Debian-"))));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&Subject { file: "a.img", version: "0.2.0", sha256: "00", time: 0 }, &all_parts());
        let of = |list: &str, key: &str| -> BTreeSet<String> {
            document[list]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|item| item[key].as_str())
                .map(str::to_owned)
                .collect()
        };
        let mut ids = of("packages", "SPDXID");
        ids.insert("SPDXRef-DOCUMENT".to_owned());
        assert!(of("relationships", "relatedSpdxElement").is_subset(&ids));
        assert!(of("relationships", "spdxElementId").is_subset(&ids));
        let used: BTreeSet<String> =
            of("packages", "licenseDeclared").into_iter().filter(|name| name.starts_with("LicenseRef-")).collect();
        assert_eq!(used, of("hasExtractedLicensingInfos", "licenseId"));
    }
}
