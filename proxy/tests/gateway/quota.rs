//! What one plugin may use of the gateway, and what its neighbours notice of it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;

use base::RefusalReason;
use evidence::EventKind;
use proxy::KillScope;

use crate::world::{Origin, Plan, Plugin, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_its_quota_is_told_so_and_its_neighbour_is_served() {
    let origin = Origin::start().await;
    let mut plan = Plan::reaching(&[("api.example", origin.address)]);
    plan.settings.limits.quotas.connections_per_run = 2;
    let world = plan.start().await;
    let (greedy, modest) = (world.plugin("acme.greedy", 1), world.plugin("acme.modest", 2));
    let _first = world.tunnel(&greedy, "api.example:443").await;
    let _second = world.tunnel(&greedy, "api.example:443").await;
    for _ in 0..3 {
        let mut third = world.client().await;
        third
            .send(&format!(
                "CONNECT api.example:443 HTTP/1.1\r\n{}\r\n",
                greedy.header()
            ))
            .await;
        let head = third.head().await;
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert!(head.contains("X-Bailiwick-Reason: quota"), "{head}");
        assert!(head.contains("Retry-After: 1"), "{head}");
    }
    let _neighbour = world.tunnel(&modest, "api.example:443").await;
    let told = world.event(|event| event.reason == Some(RefusalReason::Quota));
    assert_eq!(told.count, Some(1));
    assert_eq!(
        told.plugin_id.as_ref().map(ToString::to_string).as_deref(),
        Some("acme.greedy")
    );
    // What ends is given back.
    let killed = world
        .gateway
        .kill(KillScope::Plugin("acme.greedy".parse().unwrap()))
        .await;
    assert_eq!(killed.tunnels, 2);
    let _again = world.tunnel(&greedy, "api.example:443").await;
    stop_and_count(&world, 3).await;
}

/// Every refusal is in the log by the time the gateway has stopped, in however few events.
async fn stop_and_count(world: &World, refusals: u64) {
    world.gateway.shutdown(std::time::Duration::ZERO).await;
    let counted: u64 = world.sees("the count", |events| {
        Some(
            events
                .iter()
                .filter(|event| event.reason == Some(RefusalReason::Quota))
                .filter_map(|event| event.count)
                .sum(),
        )
    });
    assert_eq!(counted, refusals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plugin_that_floods_the_gateway_queues_up_behind_itself() {
    const FLOOD: usize = 200;
    let origin = Origin::start().await;
    let world = World::reaching(&[("api.example", origin.address)]).await;
    let (loud, quiet) = (world.plugin("acme.loud", 1), world.plugin("acme.quiet", 2));
    let ask = |plugin: &Plugin| {
        let mut client = TcpStream::connect(world.address()).unwrap();
        let request = format!("CONNECT api.example:443 HTTP/1.1\r\n{}\r\n", plugin.header());
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    // The gateway's only worker is held until all of them stand in line, the quiet one almost last: the
    // runtime begins with the very last.
    let (release, held) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    tokio::spawn(async move {
        begun.send(()).unwrap();
        held.recv().unwrap();
    });
    begins.recv().unwrap();
    let _flood: Vec<TcpStream> = (0..FLOOD).map(|_| ask(&loud)).collect();
    let _neighbour = ask(&quiet);
    let _straggler = ask(&loud);
    release.send(()).unwrap();
    let opened = world.sees("everybody's opening", |events| {
        let opened = events.iter().filter(|event| event.kind == EventKind::Open);
        let plugins: Vec<String> = opened
            .filter_map(|event| event.plugin_id.as_ref().map(ToString::to_string))
            .collect();
        (plugins.len() == FLOOD + 2).then_some(plugins)
    });
    let before = opened.iter().take_while(|plugin| *plugin == "acme.loud").count();
    assert!(before < FLOOD / 2, "{before} of {FLOOD} were recorded first");
}
