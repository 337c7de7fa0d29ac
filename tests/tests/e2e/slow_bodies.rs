//! Bodies that drip: never silent for long enough to be idle, and never at their end.
//!
//! A relay cannot know what is slow and what is malice, so such a body is carried like any other. What
//! it may not do is take more than its place: it counts in its run's quota, holds no bytes back, is
//! told of while it lasts, is killed like everything else, and ends where the site set an end.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{RawClient, Scenario, wait_until};
use serde_json::Value;

use crate::limits::{is_over_quota, stage};
use crate::stage::{Stage, exactly, has_ended, head};
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_body_that_drips_holds_its_place_and_nothing_else",
        needs: &[],
        run: place,
    },
    Scenario {
        name: "a_body_that_drips_ends_with_a_kill_and_where_the_site_sets_an_end",
        needs: &[],
        run: end,
    },
];

const NAME: &str = "api.weather.example";
const TARGET: &str = "api.weather.example:443";
const URL: &str = "http://api.weather.example:443/weather";

/// One exchange whose body comes in small pieces, for ever.
struct Drip {
    client: RawClient,
    far: TcpStream,
    is_upload: bool,
    piece: &'static [u8],
}

impl Drip {
    /// A request whose body drips, framed as `field` says.
    fn upload(stage: &Stage, field: &str, piece: &'static [u8]) -> Result<Self> {
        let mut client = stage.client()?;
        let fields = format!("Host: {TARGET}\r\n{field}\r\n");
        stage.send_request(&mut client, &format!("POST {URL}"), &fields)?;
        let mut far = stage.server.accept()?;
        head(&mut far)?;
        Ok(Self {
            client,
            far,
            is_upload: true,
            piece,
        })
    }

    /// An answer whose body drips.
    fn download(stage: &Stage) -> Result<Self> {
        let mut client = stage.client()?;
        stage.send_request(&mut client, &format!("GET {URL}"), &format!("Host: {TARGET}\r\n"))?;
        let mut far = stage.server.accept()?;
        far.set_nodelay(true)?;
        head(&mut far)?;
        far.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        assert_eq!(client.answer()?.status, 200);
        Ok(Self {
            client,
            far,
            is_upload: false,
            piece: b"1\r\n.\r\n",
        })
    }

    /// One more piece, which arrives although the next is not there yet.
    fn drips(&mut self) -> Result<()> {
        let arrived = if self.is_upload {
            self.client.send(self.piece)?;
            exactly(&mut self.far, self.piece.len())?
        } else {
            self.far.write_all(self.piece)?;
            self.client.exactly(self.piece.len())?
        };
        ensure!(arrived == self.piece, "{arrived:?} arrived");
        Ok(())
    }

    /// Whether both ends come to see that it is over.
    fn has_ended(mut self) -> bool {
        self.client.drain();
        has_ended(&mut self.far)
    }
}

/// One of each kind.
fn all(stage: &Stage) -> Result<Vec<Drip>> {
    let mut drips = vec![
        Drip::upload(stage, "Content-Length: 1000000000", b".")?,
        Drip::upload(stage, "Transfer-Encoding: chunked", b"1\r\n.\r\n")?,
        Drip::download(stage)?,
    ];
    for _ in 0..20 {
        drips.iter_mut().try_for_each(Drip::drips)?;
    }
    Ok(drips)
}

fn place() -> Result<()> {
    let stage = stage("[limits]\nconnections_per_run = 3")?;
    let world = &stage.world;
    let neighbour = world.plugin("acme.neighbour").declares(&[NAME]).admit("high")?;
    let neighbour = LiveRun::start(world, &neighbour, &[])?;
    let mut drips = all(&stage)?;
    let over = stage.connect(TARGET)?;
    ensure!(is_over_quota(&over), "{over:?}");
    let theirs = ask(world, TARGET, Some(&neighbour.credentials))?;
    ensure!(theirs.status == 200, "a neighbour: {theirs:?}");
    drop(stage.server.accept()?);
    drips.iter_mut().try_for_each(Drip::drips)?;
    let announced = stage.wait_for("connected", 3)?;
    ensure!(
        announced.iter().all(|connected| connected["scheme"] == "http"),
        "{announced:#?}"
    );
    drop(drips.pop().context("the last of them")?);
    wait_until("its place to be given back", || {
        stage.connect(TARGET).is_ok_and(|answer| answer.status == 200)
    })?;
    drips.iter_mut().try_for_each(Drip::drips)
}

fn end() -> Result<()> {
    let killed = stage("")?;
    let drips = all(&killed)?;
    killed.world.ok(["kill", "acme.weather"])?;
    ensure!(drips.into_iter().all(Drip::has_ended));

    let stage = stage("[timeouts]\ntotal = \"4s\"\nprogress = \"1s\"")?;
    let mut drips = all(&stage)?;
    for drip in &mut drips {
        while drip.drips().is_ok() {}
    }
    ensure!(drips.into_iter().all(Drip::has_ended));
    let closes = stage.wait_for("close", 3)?;
    ensure!(
        closes.iter().all(|close| close["timeout"] == "total"),
        "{closes:#?}"
    );
    // What lasts is told of while it does, with what it has carried so far.
    for (close, told) in closes.iter().zip(["bytes_out", "bytes_out", "bytes_in"]) {
        let of_it = |event: &Value| event["connection_id"] == close["connection_id"];
        let progress = stage.events("progress")?.into_iter().find(of_it);
        let progress = progress.context("a progress event of each")?;
        ensure!(
            progress[told].as_u64() > Some(20) && progress[told].as_u64() <= close[told].as_u64(),
            "{progress:#} {close:#}"
        );
    }
    stage.is_well(TARGET)
}
