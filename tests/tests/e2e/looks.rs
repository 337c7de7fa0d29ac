//! How reports look: in a real browser, at the width of a desk and of a phone, light and dark, on
//! paper, and to somebody who hears them (axe-core).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, run, workspace};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "no_page_has_a_serious_fault_for_those_who_hear_or_zoom_it",
        needs: &[Peer::Chromium, Peer::AxeCore],
        run: accessible,
    },
    Scenario {
        name: "a_page_prints_to_paper",
        needs: &[Peer::Chromium],
        run: printed,
    },
];

/// Pages as the golden files have them: every verdict, the night, and letters.
const PAGES: [&str; 7] = [
    "busy.html",
    "breach.html",
    "conforming.html",
    "inconclusive.html",
    "night.html",
    "breach.owner.mail.html",
    "night.mail.html",
];

fn page(name: &str) -> PathBuf {
    workspace().join("tests/vectors/reports").join(name)
}

/// A headless browser with a profile of its own and no network to speak of.
fn chromium(profile: &Path) -> Command {
    let mut command = Peer::Chromium.command();
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-extensions",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ])
        .arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// The page in a frame of `width`, with axe inside it; the frame's verdict ends up in the document.
fn framed(html: &str, axe: &str, width: u32) -> Result<String> {
    // The page forbids scripts, which is right; this one is the examiner's.
    let start = html.find("<meta http-equiv=\"Content-Security-Policy\"");
    let open = match start {
        Some(start) => {
            let end = html[start..].find('>').context("a tag ends")? + start + 1;
            format!("{}{}", &html[..start], &html[end..])
        }
        None => html.to_owned(),
    };
    let examine = "axe.run(document, {resultTypes: ['violations']}).then(found => parent.postMessage({
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        faults: found.violations.map(v => ({id: v.id, impact: v.impact, where: v.nodes.map(n => n.target.join(' ')).slice(0, 5)}))
    }, '*'))";
    let inside = open.replace(
        "</body>",
        &format!("<script>{axe}</script><script>{examine}</script></body>"),
    );
    let inside = serde_json::to_string(&inside)?.replace("</", "<\\/");
    Ok(format!(
        "<!doctype html><html lang=\"en\"><title>x</title><body><iframe id=\"f\" width=\"{width}\" height=\"900\"></iframe>
        <pre id=\"said\"></pre><script>
        addEventListener('message', told => {{ document.getElementById('f').remove(); document.getElementById('said').textContent = JSON.stringify(told.data); }});
        document.getElementById('f').srcdoc = {inside};
        </script></body></html>"
    ))
}

fn accessible() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let axe = std::fs::read_to_string(Peer::AxeCore.find().map_err(anyhow::Error::msg)?)?;
    for name in PAGES {
        let html = std::fs::read_to_string(page(name))?;
        for width in [1280, 390] {
            let file = folder.path().join(format!("{width}-{name}"));
            std::fs::write(&file, framed(&html, &axe, width)?)?;
            for (scheme, setting) in [("light", 1), ("dark", 0)] {
                let dom = run(chromium(&folder.path().join("profile"))
                    .arg(format!("--blink-settings=preferredColorScheme={setting}"))
                    .args(["--virtual-time-budget=20000", "--dump-dom"])
                    .arg(&file))?
                .expect(0)?
                .text();
                let said = dom
                    .split("<pre id=\"said\">")
                    .nth(1)
                    .and_then(|rest| rest.split("</pre>").next())
                    .map(|text| {
                        text.replace("&quot;", "\"")
                            .replace("&gt;", ">")
                            .replace("&lt;", "<")
                            .replace("&amp;", "&")
                    })
                    .filter(|text| !text.is_empty())
                    .with_context(|| format!("{name} at {width}, {scheme}: the browser said nothing"))?;
                let said: Value = serde_json::from_str(&said)?;
                let serious: Vec<&Value> = said["faults"]
                    .as_array()
                    .context("a list of faults")?
                    .iter()
                    .filter(|fault| fault["impact"] == "serious" || fault["impact"] == "critical")
                    .collect();
                ensure!(serious.is_empty(), "{name} at {width}, {scheme}: {serious:#?}");
                ensure!(
                    said["wide"].as_i64().is_some_and(|wide| wide <= 0),
                    "{name} at {width} scrolls sideways: {said}"
                );
            }
        }
    }
    Ok(())
}

fn printed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["busy.html", "night.html"] {
        let paper = folder.path().join(format!("{name}.pdf"));
        run(chromium(&folder.path().join("profile"))
            .arg("--no-pdf-header-footer")
            .arg(format!("--print-to-pdf={}", paper.display()))
            .arg(page(name)))?
        .expect(0)?;
        let bytes = std::fs::read(&paper)?;
        ensure!(
            bytes.starts_with(b"%PDF-") && bytes.len() > 5_000,
            "{name}: {} bytes",
            bytes.len()
        );
    }
    Ok(())
}
