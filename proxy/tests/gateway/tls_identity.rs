//! Client certificates: whose run it is, from one name under one authority, and nothing else.

use base::{Attribution, RefusalReason};
use evidence::EventKind;
use proxy::{ClientAuth, Ruling};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use seal::SigningKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::tls_world::{Proof, TlsWorld, forge, now, plan, site, uri, uri_name};
use crate::world::{Origin, Plugin};

/// What comes of a request over TLS: the answer's status line, or nothing.
async fn ask(tls: &TlsWorld, proof: Option<Proof>, headers: &str) -> Option<String> {
    let mut client = tls.connect(proof).await.ok()?;
    let request = format!("CONNECT ok.example:443 HTTP/1.1\r\n{headers}\r\n");
    client.io.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    loop {
        match client.io.read_buf(&mut answer).await {
            Ok(1..) if answer.windows(4).any(|window| window == b"\r\n\r\n") => {
                return Some(String::from_utf8(answer).unwrap());
            }
            Ok(1..) => {}
            _ => return None,
        }
    }
}

/// The reasons of everything that was refused, once there are `count` of them.
fn refusals(tls: &TlsWorld, count: usize) -> Vec<RefusalReason> {
    tls.world.sees("the refusals", |events| {
        let refused = events.iter().filter(|event| event.kind == EventKind::Refused);
        let reasons: Vec<_> = refused.map(|event| event.reason.unwrap()).collect();
        (reasons.len() >= count).then_some(reasons)
    })
}

fn named(names: Vec<SanType>) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.subject_alt_names = names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_in_the_certificate_is_whose_connection_it_is() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Required, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let answer = ask(&tls, Some(tls.proof(&plugin)), "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let open = tls.world.first(EventKind::Open);
    assert_eq!(open.attribution, Some(Attribution::Mtls));
    assert_eq!(open.plugin_id, Some(plugin.claims.plugin_id));
    assert_eq!(open.artifact_digest, Some(plugin.claims.artifact_digest));
    assert_eq!(open.run_id, Some(plugin.claims.run_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_exactly_a_runs_is_refused_in_the_handshake() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let other = tls.world.plugin("acme.other", 2);
    let good = uri(&plugin).to_string();
    let good_name = || uri_name(&good);
    let key = &tls.world.key;
    // The forger's certificate is believed where it is what the authority would have made.
    let same = forge(key, named(vec![good_name()]));
    assert!(
        ask(&tls, Some(same), "")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );

    let names: [Vec<SanType>; 9] = [
        vec![],
        vec![good_name(), uri_name(uri(&other))],
        vec![good_name(), good_name()],
        vec![good_name(), SanType::DnsName("ok.example".try_into().unwrap())],
        vec![SanType::DnsName("acme.weather".try_into().unwrap())],
        vec![uri_name(good.replace("//acme/", "//acme2/"))],
        vec![uri_name(good.replace("bailiwick://", "spiffe://"))],
        vec![uri_name(format!("{good}?"))],
        vec![uri_name(good.to_uppercase())],
    ];
    let count = names.len();
    for names in names {
        let said = format!("{names:?}");
        assert_eq!(
            ask(&tls, Some(forge(key, named(names))), "").await,
            None,
            "{said}"
        );
    }
    // A name where nobody looks: the common name says whose run it is, the SAN says otherwise or
    // nothing.
    let nameless = forge(key, |params| {
        params.distinguished_name.push(DnType::CommonName, good.as_str());
    });
    assert_eq!(ask(&tls, Some(nameless), "").await, None);
    for usages in [
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ],
        vec![],
    ] {
        let said = format!("{usages:?}");
        let proof = forge(key, |params| {
            params.subject_alt_names = vec![uri_name(&good)];
            params.extended_key_usages = usages;
        });
        assert_eq!(ask(&tls, Some(proof), "").await, None, "{said}");
    }
    let reasons = refusals(&tls, count + 5);
    assert_eq!(reasons, vec![RefusalReason::CredentialsInvalid; count + 5]);
    for event in tls.world.sink.events() {
        assert!(event.kind != EventKind::Refused || (event.run_id.is_none() && event.plugin_id.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_common_name_is_never_read() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let other = tls.world.plugin("acme.other", 2);
    let collision = forge(&tls.world.key, |params| {
        params.subject_alt_names = vec![uri_name(uri(&plugin))];
        params
            .distinguished_name
            .push(DnType::CommonName, uri(&other).to_string());
    });
    ask(&tls, Some(collision), "").await.unwrap();
    assert_eq!(
        tls.world.first(EventKind::Open).run_id,
        Some(plugin.claims.run_id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_vouches_for_nobody_whatever_it_calls_itself() {
    let tls = TlsWorld::start(ClientAuth::Optional, &[]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let name = || vec![uri_name(uri(&plugin))];
    let stranger = SigningKey::ed25519_from_seed(&[8; 32]);
    assert_eq!(ask(&tls, Some(forge(&stranger, named(name()))), "").await, None);
    // A run cannot make certificates for others with the key of its own.
    let own = SigningKey::p256_from_seed(&[90; 32]).unwrap();
    let mut chained = forge(&own, named(name()));
    chained.chain.extend(tls.proof(&plugin).chain);
    assert_eq!(ask(&tls, Some(chained), "").await, None);
    assert_eq!(refusals(&tls, 2), [RefusalReason::CredentialsInvalid; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_and_called_expired() {
    let tls = TlsWorld::start(ClientAuth::Optional, &[]).await;
    let late = tls.world.plugin_until("acme.weather", 1, now().plus_seconds(-30));
    assert_eq!(ask(&tls, Some(tls.proof(&late)), "").await, None);
    assert_eq!(refusals(&tls, 1), [RefusalReason::CredentialsExpired]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_dies_with_its_run_and_its_tunnels_are_cut() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Required, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let mut standing = tls.tunnel(tls.proof(&plugin), "ok.example:443").await;
    tls.world
        .runs
        .end_run(plugin.claims.run_id, plugin.claims.expires, now());
    assert_eq!(tls.world.gateway.end_run(plugin.claims.run_id).await.tunnels, 1);
    standing.breaks().await;
    let answer = ask(&tls, Some(tls.proof(&plugin)), "").await.unwrap();
    assert!(answer.contains("X-Bailiwick-Reason: run_ended\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_revoked_digest_opens_nothing() {
    let tls = TlsWorld::start(ClientAuth::Required, &[]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    let revoked = plugin.claims.artifact_digest;
    tls.world.rulings.set(move |identity, _| match identity {
        Some(identity) if identity.artifact_digest == revoked => {
            Ruling::deny(base::Mode::Revoked, RefusalReason::Revoked, "it was revoked")
        }
        _ => Ruling::allow(),
    });
    let answer = ask(&tls, Some(tls.proof(&plugin)), "").await.unwrap();
    assert!(answer.contains("X-Bailiwick-Reason: revoked\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_other_proofs_count_where_it_is_optional_and_none_where_it_is_required() {
    let origin = Origin::start().await;
    let hosts = [("ok.example", origin.address)];
    for (client_auth, by_token) in [
        (ClientAuth::None, true),
        (ClientAuth::Optional, true),
        (ClientAuth::Required, false),
    ] {
        let tls = TlsWorld::start(client_auth, &hosts).await;
        let plugin: Plugin = tls.world.plugin("acme.weather", 1);
        let answer = ask(&tls, None, &plugin.header()).await;
        let let_in = answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "));
        assert_eq!(let_in, by_token, "{client_auth:?}");
        if by_token {
            assert_eq!(
                tls.world.first(EventKind::Open).attribution,
                Some(Attribution::Token)
            );
            let nothing = ask(&tls, None, "").await.unwrap();
            assert!(nothing.starts_with("HTTP/1.1 407 "), "{nothing}");
        }
        assert_eq!(refusals(&tls, 1), [RefusalReason::CredentialsMissing]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_beside_the_certificate_must_be_of_the_same_run() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Optional, &[("ok.example", origin.address)]).await;
    let (mine, other) = (
        tls.world.plugin("acme.weather", 1),
        tls.world.plugin("acme.other", 2),
    );
    let both = ask(&tls, Some(tls.proof(&mine)), &mine.header()).await.unwrap();
    assert!(both.starts_with("HTTP/1.1 200 "), "{both}");
    let answer = ask(&tls, Some(tls.proof(&mine)), &other.header()).await.unwrap();
    assert!(
        answer.contains("X-Bailiwick-Reason: credentials_conflict\r\n"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_run_key_vouches_for_nobody_from_then_on() {
    let origin = Origin::start().await;
    let tls = TlsWorld::start(ClientAuth::Required, &[("ok.example", origin.address)]).await;
    let plugin = tls.world.plugin("acme.weather", 1);
    assert!(ask(&tls, Some(tls.proof(&plugin)), "").await.is_some());
    let other = SigningKey::ed25519_from_seed(&[9; 32]).public();
    tls.world.gateway.set_run_keys(vec![other.clone()]).unwrap();
    assert_eq!(ask(&tls, Some(tls.proof(&plugin)), "").await, None);
    // Several keys may vouch at a time, as while one follows the other.
    let both = vec![other, tls.world.key.public()];
    tls.world.gateway.set_run_keys(both).unwrap();
    assert!(ask(&tls, Some(tls.proof(&plugin)), "").await.is_some());
    tls.world.gateway.set_run_keys(Vec::new()).unwrap();
    assert_eq!(ask(&tls, Some(tls.proof(&plugin)), "").await, None);
    assert_eq!(ask(&tls, None, &plugin.header()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_this_site_is_nothing_at_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut elsewhere = plan(&folder, ClientAuth::Optional, &[]);
    elsewhere.settings.tls.as_mut().unwrap().site = "acme-two".parse().unwrap();
    let world = elsewhere.start().await;
    let tls = TlsWorld { world, folder };
    let plugin = tls.world.plugin("acme.weather", 1);
    assert_eq!(uri(&plugin).site, site());
    assert_eq!(ask(&tls, Some(tls.proof(&plugin)), "").await, None);
    assert_eq!(refusals(&tls, 1), [RefusalReason::CredentialsInvalid]);
}
