//! The door of a take-over, and whoever should not be let in there: garbage, half a message, more
//! descriptors than belong there, another user. The running process serves on, and keeps nothing of it.

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, RawClient, RawServer, Scenario, World, wait_until};
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use crate::service::{Hammer, carries};
use crate::stage::Stage;
use crate::take_over::{Successor, TARGET, all_ended, ends, is_whole, of_kind, stage};
use crate::tokens::LiveRun;
use crate::ways_in::{NOBODY, curl, open_wide};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "whoever_says_nonsense_at_the_door_is_sent_away_and_leaves_nothing_behind",
        needs: &[],
        run: nonsense,
    },
    Scenario {
        name: "a_successor_that_stops_half_way_keeps_nobody_waiting",
        needs: &[],
        run: half_way,
    },
    Scenario {
        name: "another_users_process_is_not_heard_even_where_the_door_stands_open",
        needs: &[Peer::AnotherUser, Peer::Curl],
        run: another_user,
    },
    Scenario {
        name: "a_successor_from_another_namespace_has_no_number_and_takes_over_all_the_same",
        needs: &[Peer::OwnNetwork],
        run: another_namespace,
    },
];

fn door(world: &World) -> PathBuf {
    world.site().join("data/handover/socket")
}

/// How many descriptors the running process has beside the files of its site.
fn descriptors(world: &World) -> Result<usize> {
    let id = world.server()?.id();
    // The log and the registry open their own files when they need them.
    let is_foreign = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|place| !place.starts_with(world.site()))
    };
    let open = std::fs::read_dir(format!("/proc/{id}/fd"))?;
    Ok(open.filter_map(Result::ok).filter(is_foreign).count())
}

/// Waits until the process has no more descriptors than it had.
fn leaves_nothing(world: &World, before: usize) -> Result<()> {
    wait_until("every descriptor to be closed", || {
        descriptors(world).is_ok_and(|now| now <= before)
    })
}

/// The bytes of a message.
fn message(text: &str) -> Result<Vec<u8>> {
    let mut bytes = u32::try_from(text.len())?.to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    Ok(bytes)
}

/// Sends bytes with descriptors beside them, of which the other side expects none.
fn send_with_descriptors(stream: &UnixStream, bytes: &[u8], count: usize) -> Result<()> {
    const MOST: usize = 250;
    let own = std::fs::File::open("/dev/null")?;
    let many: Vec<BorrowedFd<'_>> = (0..count.min(MOST)).map(|_| own.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(control.push(SendAncillaryMessage::ScmRights(&many)));
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn nonsense() -> Result<()> {
    let mut stage = stage("60s")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let hammer = Hammer::start(stage.world.gateway()?, &stage.run);
    hammer.wait_for_more(5)?;
    let hello = json!({"say": "hello", "oldest": 1, "newest": 2, "site": "nobody", "gateway": "gw-1"});
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        vec![0; 4096],
        message("{]")?,
        message(&deep)?,
        message(r#"{"say":"release"}"#)?,
        message(r#"{"say":"leave"}"#)?,
        message(r#"{"say":"cut","id":1,"scope":"all"}"#)?,
        message(r#"{"say":"hello","oldest":-1,"newest":"x"}"#)?,
        message(&hello.to_string())?,
        // A length beyond any message, and one that is never filled.
        vec![0xff, 0xff, 0xff, 0xff],
        b"\0\x3f\0\0{\"say\":".to_vec(),
    ];
    // The hammer's connections come and go, so what it has open now is no measure; what it has without
    // them is.
    let refused = hammer.finish();
    ensure!(refused.is_empty(), "{refused:?}");
    wait_until("the hammer's connections to be gone", || {
        stage
            .world
            .ok(["status"])
            .is_ok_and(|status| status["gateways"][0]["live_tunnels"] == 1)
    })?;
    let before = descriptors(&stage.world)?;
    for bytes in &cases {
        for descriptors in [0, 1, 250] {
            let mut stream = UnixStream::connect(door(&stage.world))?;
            if descriptors > 0 && !bytes.is_empty() {
                send_with_descriptors(&stream, bytes, descriptors)?;
            } else {
                stream.write_all(bytes)?;
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = Vec::new();
            // Hung up on, with or without a word.
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            ensure!(answer.is_empty() || answer.contains("refused"), "{answer}");
        }
    }
    leaves_nothing(&stage.world, before)?;
    carries(&mut client, &mut far)?;
    stage.is_well(TARGET)?;

    // The door is as it was for one who knows the words.
    let process_before = stage.world.take_over()?;
    carries(&mut client, &mut far)?;
    drop((client, far));
    ends(process_before)?;
    stage.is_well(TARGET)?;
    let events = is_whole(&stage.world)?;
    assert_eq!(of_kind(&events, "gap").len(), 0);
    Ok(())
}

fn half_way() -> Result<()> {
    let stage = stage("60s")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let before = descriptors(&stage.world)?;
    // Many that say half of their first word and stay: whoever knows all of it is let in beside them.
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = UnixStream::connect(door(&stage.world))?;
        stream.write_all(&[0, 0, 0])?;
        silent.push(stream);
    }
    let (mut successor, welcome) = Successor::welcomed(&stage.world)?;
    successor.leave_sockets(&welcome)?;
    // It has the sockets and says half of what comes next.
    successor.0.write_all(&[0, 0, 0, 17, b'{'])?;
    stage.is_well(TARGET)?;
    let mut rest = Vec::new();
    let _ = successor.0.read_to_end(&mut rest);
    ensure!(rest.is_empty(), "it is hung up on without a word");
    for stream in &mut silent {
        ensure!(crate::stage::has_ended(stream), "none of them is waited for");
    }
    leaves_nothing(&stage.world, before)?;

    // One that gets as far as the log and breaks off in the middle of saying that it serves, with
    // descriptors that nobody asked for.
    let (mut successor, welcome) = Successor::welcomed(&stage.world)?;
    successor.leave_sockets(&welcome)?;
    successor.say(&json!({"say": "release"}))?;
    assert_eq!(successor.hear()?["say"], "released");
    send_with_descriptors(&successor.0, &[0, 0, 0, 30, b'{'], 250)?;
    drop(successor);
    carries(&mut client, &mut far)?;
    wait_until("the house to be back", || stage.world.ok(["status"]).is_ok())?;
    leaves_nothing(&stage.world, before)?;
    drop((client, far));
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "gap").len(), 0);
    assert_eq!(of_kind(&events, "start").len(), 1);
    all_ended(&events)
}

fn another_user() -> Result<()> {
    let stage = stage("60s")?;
    let door = door(&stage.world);
    // As made, the folder alone keeps others out (curl: 7, could not connect).
    assert_eq!(curl(&stage.world, &door, Some(NOBODY))?, Some(7));
    open_wide(&door, stage.world.site().parent().context("a folder")?)?;
    let code = curl(&stage.world, &door, Some(NOBODY))?;
    ensure!(matches!(code, Some(1..)), "curl ended with {code:?}");
    let said = |what: &str| {
        stage
            .world
            .server()
            .is_ok_and(|server| server.printed().contains(what))
    };
    wait_until("it to be said", || {
        said("a process of another user asked to take over")
    })?;
    ensure!(!said("was not understood"), "not a word of it was read");
    stage.is_well(TARGET)
}

fn another_namespace() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&["api.weather.example"], &[server.address().to_string()])?;
    // Where a service manager would listen.
    let notices = world.path("notices");
    let manager = UnixDatagram::bind(&notices)?;
    manager.set_nonblocking(true)?;
    let named = format!("NOTIFY_SOCKET={}", notices.display());
    // The process before cannot see the one that comes, as if each were in a container of its own.
    world.serve_through(&["unshare", "--pid", "--fork", "--kill-child", "--", "env", &named])?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["tcp://api.weather.example:443"])
        .admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let mut client = RawClient::connect(world.gateway()?)?;
    assert_eq!(client.tunnel(TARGET, Some(&run.credentials))?.status, 200);
    let mut far = server.accept()?;
    let before = world.take_over()?;
    carries(&mut client, &mut far)?;
    drop((client, far));
    ends(before)?;
    let mut told = Vec::new();
    let mut notice = [0; 4096];
    while let Ok(length) = manager.recv(&mut notice) {
        told.extend(
            String::from_utf8_lossy(&notice[..length])
                .lines()
                .map(str::to_owned),
        );
    }
    ensure!(told.iter().any(|line| line == "READY=1"), "{told:?}");
    ensure!(!told.iter().any(|line| line.starts_with("MAINPID")), "{told:?}");
    drop(run);
    world.stop()?;
    all_ended(&is_whole(&world)?)
}
