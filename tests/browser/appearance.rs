//! Every page as it is seen: axe-core finds nothing, nothing sticks out, and a picture of it is kept.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::driver::Browser;

/// The narrowest phone, a tablet, a desk.
const WIDTHS: [u32; 3] = [320, 768, 1280];

/// axe-core's script, as `cargo xtask test --only browser` installs it.
fn axe() -> String {
    let path = std::env::var("BRAMBLE_AXE").expect("BRAMBLE_AXE names axe.min.js; `cargo xtask test` sets it");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Looks at a page in each width, light and dark. `name` is that of its pictures.
pub(crate) fn look_at(browser: &Browser, addr: SocketAddr, path: &str, name: &str) {
    let axe = axe();
    for scheme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]);
        browser.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
        for width in WIDTHS {
            let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
            browser.devtools("Emulation.setDeviceMetricsOverride", &size);
            browser.open(addr, path);
            let shown = format!("{name} at {width} px, {scheme}");
            let inner = browser.run("return document.documentElement.scrollWidth");
            assert!(inner.as_u64().is_some_and(|inner| inner <= width.into()), "{shown} is {inner} px wide");
            keep_picture(browser, &format!("{name}-{width}-{scheme}"));
            browser.run(&axe);
            let found = browser.run_async(
                "const done = arguments[arguments.length - 1];
                 axe.run(document).then((all) => done({
                     passes: all.passes.length,
                     violations: all.violations.map((one) => [one.id, one.help, one.nodes.map((node) => node.html)]),
                 }), (error) => done({error: String(error)}));",
            );
            assert_eq!(found["violations"], json!([]), "{shown}: {found}");
            assert!(found["passes"].as_u64().is_some_and(|passes| passes > 10), "axe looked at nothing: {found}");
        }
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    browser.devtools("Emulation.setEmulatedMedia", &json!({"features": []}));
}

/// The whole page, not only what fits the window.
fn keep_picture(browser: &Browser, name: &str) {
    let told = browser.devtools("Page.captureScreenshot", &json!({"format": "png", "captureBeyondViewport": true}));
    let data = told["data"].as_str().expect("a picture");
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("the target folder is there");
    std::fs::write(folder.join(format!("{name}.png")), from_base64(data)).expect("room for a picture");
}

fn folder() -> PathBuf {
    let exe = PathBuf::from(env!("CARGO_BIN_EXE_bramble"));
    exe.ancestors().nth(2).expect("target/PROFILE/bramble").join("screenshots")
}

/// RFC 4648, 4.
fn from_base64(text: &str) -> Vec<u8> {
    let value = |symbol: u8| match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("not base64: {other}"),
    };
    let symbols: Vec<u8> = text.bytes().take_while(|symbol| *symbol != b'=').map(value).collect();
    let bytes = symbols.chunks(4).flat_map(|four| {
        let bits = four.iter().enumerate().fold(0_u32, |bits, (at, six)| bits | u32::from(*six) << (18 - 6 * at));
        bits.to_be_bytes().into_iter().skip(1).take(four.len() * 6 / 8)
    });
    bytes.collect()
}

#[test]
fn base64_is_read_as_the_rfc_writes_it() {
    for (text, bytes) in [("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
        assert_eq!(from_base64(text), bytes.as_bytes());
    }
    assert_eq!(Value::from(from_base64("/+8=")), json!([255, 239]));
}
