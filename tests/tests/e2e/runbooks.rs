//! The runbooks: whatever they tell an operator to type is typed here, against a site in trouble.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Scenario, World, bailiwick, run, workspace};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "every_command_of_every_page_works_as_written",
        needs: &[Peer::Curl],
        run: every_page,
    },
    Scenario {
        name: "every_page_is_in_the_table_of_contents",
        needs: &[],
        run: table_of_contents,
    },
];

fn pages() -> Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(workspace().join("runbooks"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".md") && name != "README.md" {
            pages.push((name, std::fs::read_to_string(&path)?));
        }
    }
    pages.sort();
    ensure!(!pages.is_empty(), "there are runbooks");
    Ok(pages)
}

/// The `sh` blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    for part in page.split("```sh\n").skip(1) {
        let end = part.find("```").unwrap_or(part.len());
        blocks.push(part[..end].to_owned());
    }
    blocks
}

/// A site whose one plugin broke its word, and where a night has said so.
fn troubled_site() -> Result<(World, Plugin)> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("high")?;
    world
        .run_plugin(
            &plugin,
            ["curl", "-fsS", "--max-time", "60", "https://paste.example/"],
        )?
        .expect(0)?;
    world.cli(["audit"])?.expect(1)?;
    Ok((world, plugin))
}

fn every_page() -> Result<()> {
    for (name, page) in pages()? {
        let (world, plugin) = troubled_site().with_context(|| name.clone())?;
        for block in blocks(&page) {
            type_in(&world, &plugin, &block).with_context(|| format!("{name}:\n{block}"))?;
        }
    }
    Ok(())
}

fn type_in(world: &World, plugin: &Plugin, block: &str) -> Result<()> {
    let binary = bailiwick();
    let folder = Path::new(&binary)
        .parent()
        .context("the binary lies in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", block])
        .current_dir(world.path(""))
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("CONFIG", world.config())
        .env("DIGEST", &plugin.digest)
        .env("PLUGIN", &plugin.id);
    run(&mut shell)?.expect(0)?;
    Ok(())
}

fn table_of_contents() -> Result<()> {
    let contents = std::fs::read_to_string(workspace().join("runbooks/README.md"))?;
    for (name, _) in pages()? {
        ensure!(
            contents.contains(&format!("({name})")),
            "{name} is not in runbooks/README.md"
        );
    }
    Ok(())
}
