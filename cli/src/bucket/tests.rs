//! A bucket against servers made for it: honest ones, lying ones and none at all.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use evidence::archive::{Put, Store as _};

use super::Bucket;
use crate::config::Config;

/// What the server does with what it is asked to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Says yes and keeps nothing.
    Drops,
    /// Says yes and keeps something else.
    Changes,
    /// Says that it is not the moment.
    Busy,
    /// Says that nobody may.
    Refuses,
    /// Has no such bucket.
    Lacks,
    /// Takes the file and hangs up before it says so, the first time.
    HangsUpOnce,
}

#[derive(Default)]
struct Kept {
    files: BTreeMap<String, Vec<u8>>,
    /// Method, path, and whether the request was signed and conditional.
    asked: Vec<(String, String, bool, bool)>,
}

struct Server {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Server {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let own = Arc::clone(&kept);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, manner, &own);
            }
        });
        Self { port, kept }
    }

    fn bucket(&self, folder: &std::path::Path) -> Bucket {
        bucket(folder, self.port)
    }

    fn asked(&self) -> usize {
        self.kept.lock().unwrap().asked.len()
    }
}

fn answer(stream: TcpStream, manner: Manner, kept: &Mutex<Kept>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let (mut length, mut signed, mut conditional) = (0, false, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        signed |= header.starts_with("authorization: aws4-hmac-sha256 credential=key-of-the-test/");
        conditional |= header == "if-none-match: *";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    // Signed requests spell out more characters than they need to.
    let target = target.replace("%3D", "=");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut kept = kept.lock().unwrap();
    let is_first = kept.asked.iter().filter(|asked| asked.0 == "PUT").count() == 0;
    kept.asked
        .push((method.clone(), path.to_owned(), signed, conditional));
    let error =
        |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>").into_bytes();
    let (status, body): (&str, Vec<u8>) = match (manner, method.as_str()) {
        (Manner::Busy, _) => ("503 Slow Down", error("Busy")),
        (Manner::Refuses, _) => ("403 Forbidden", error("AccessDenied")),
        (Manner::Lacks, _) => ("404 Not Found", error("NoSuchBucket")),
        (_, "PUT") if conditional && kept.files.contains_key(path) => {
            ("412 Precondition Failed", error("PreconditionFailed"))
        }
        (_, "PUT") => {
            match manner {
                Manner::Drops => {}
                Manner::Changes => {
                    let mut changed = body.clone();
                    changed[0] ^= 1;
                    kept.files.insert(path.to_owned(), changed);
                }
                _ => {
                    kept.files.insert(path.to_owned(), body);
                }
            }
            if manner == Manner::HangsUpOnce && is_first {
                return Ok(());
            }
            ("200 OK", Vec::new())
        }
        (_, "DELETE") if query.is_empty() => {
            if manner != Manner::Drops {
                kept.files.remove(path);
            }
            ("204 No Content", Vec::new())
        }
        (_, "GET") if query.contains("list-type=2") => {
            let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
            let prefix = prefix.unwrap_or_default().replace("%2F", "/");
            let files = kept.files.iter().filter_map(|(name, bytes)| {
                let key = name.strip_prefix("/fleet/")?;
                key.starts_with(&prefix).then(|| {
                    format!(
                        "<Contents><Key>{key}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified>\
                     <ETag>&quot;x&quot;</ETag><Size>{}</Size></Contents>",
                        bytes.len()
                    )
                })
            });
            let files: String = files.collect();
            let list = format!(
                "<?xml version=\"1.0\"?><ListBucketResult><Name>fleet</Name><IsTruncated>false</IsTruncated>{files}</ListBucketResult>"
            );
            ("200 OK", list.into_bytes())
        }
        _ => match kept.files.get(path) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", error("NoSuchKey")),
        },
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"x\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(())
}

/// A bucket as a configuration names it, with credentials in a file.
fn bucket(folder: &std::path::Path, port: u16) -> Bucket {
    use std::os::unix::fs::PermissionsExt as _;
    let credentials = folder.join("credentials");
    std::fs::write(
        &credentials,
        "[default]\naws_access_key_id = key-of-the-test\naws_secret_access_key = secret-of-the-test\n",
    )
    .unwrap();
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "site = \"acme\"\n[gateway]\nname = \"gw-1\"\nlisten = [\"127.0.0.1:3128\"]\nadmin = \"127.0.0.1:9128\"\n\
         [control]\nlisten = \"127.0.0.1:8128\"\n[evidence]\narchive_to = \"s3://fleet/acme\"\n\
         [evidence.bucket]\nendpoint = \"http://127.0.0.1:{port}\"\ncredentials_file = \"credentials\"\n"
    );
    let path = folder.join("bailiwick.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::read(&path).unwrap();
    Bucket::new("s3://fleet/acme".parse().unwrap(), &config)
}

const NAME: &str = "day=2026-11-21/gateway=gw-1/a.parquet";

#[test]
fn a_file_is_put_once_and_read_whole_or_in_part() {
    let (server, folder) = (Server::start(Manner::Honest), tempfile::tempdir().unwrap());
    let bucket = server.bucket(folder.path());
    assert_eq!(bucket.get(NAME).unwrap(), None);
    assert_eq!(bucket.size(NAME).unwrap(), None);
    assert_eq!(bucket.put_if_absent(NAME, b"0123").unwrap(), Put::New);
    assert_eq!(bucket.put_if_absent(NAME, b"9999").unwrap(), Put::Existed);
    assert_eq!(bucket.get(NAME).unwrap().unwrap(), b"0123");
    assert_eq!(bucket.size(NAME).unwrap(), Some(4));
    assert_eq!(bucket.get_range(NAME, 9..12).unwrap().unwrap(), b"");
    bucket.replace("log/gw-1/checkpoint", b"one").unwrap();
    bucket.replace("log/gw-1/checkpoint", b"two").unwrap();
    assert_eq!(bucket.get("log/gw-1/checkpoint").unwrap().unwrap(), b"two");
    let names = |prefix| {
        let listed = bucket.list(prefix).unwrap().into_iter();
        listed.map(|file| file.name).collect::<Vec<_>>()
    };
    assert_eq!(names(""), [NAME]);
    assert_eq!(names("log/gw-1/"), ["log/gw-1/checkpoint"]);
    bucket.remove(NAME).unwrap();
    bucket.remove(NAME).unwrap();
    assert_eq!(bucket.get(NAME).unwrap(), None);
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("log/gw-1/"), ["log/gw-1/checkpoint"]);
    assert_eq!(bucket.place(), "s3://fleet/acme");
    let kept = server.kept.lock().unwrap();
    assert!(
        kept.asked.iter().all(|asked| asked.2),
        "a request was not signed: {:?}",
        kept.asked
    );
    assert!(
        kept.asked
            .iter()
            .filter(|asked| asked.0 == "PUT" && asked.1.ends_with(".parquet"))
            .all(|asked| asked.3 && asked.1.starts_with("/fleet/acme/day")),
        "a file was put that might have replaced another: {:?}",
        kept.asked
    );
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    let (server, folder) = (Server::start(Manner::Honest), tempfile::tempdir().unwrap());
    let bucket = server.bucket(folder.path());
    for name in ["../a", "a/../b", "a//b", "", "/a"] {
        assert!(bucket.put_if_absent(name, b"x").is_err(), "{name}");
        assert!(bucket.remove(name).is_err(), "{name}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn what_was_taken_before_the_line_broke_is_not_put_twice() {
    let (server, folder) = (Server::start(Manner::HangsUpOnce), tempfile::tempdir().unwrap());
    let bucket = server.bucket(folder.path());
    assert_eq!(bucket.put_if_absent(NAME, b"0123").unwrap(), Put::Existed);
    assert_eq!(bucket.get(NAME).unwrap().unwrap(), b"0123");
}

#[test]
fn a_bucket_that_will_not_is_asked_a_few_times_and_said_in_one_sentence() {
    for (manner, most, words) in [
        (Manner::Busy, 1 + super::RETRIES, "the server answered 503"),
        (Manner::Refuses, 1, "the bucket refuses these credentials"),
        (Manner::Lacks, 1, "there is no such bucket"),
    ] {
        let (server, folder) = (Server::start(manner), tempfile::tempdir().unwrap());
        let bucket = server.bucket(folder.path());
        let error = bucket.put_if_absent(NAME, b"0123").unwrap_err();
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(
            text.starts_with("could not put day=2026-11-21/gateway=gw-1/a.parquet in s3://fleet/acme: "),
            "{text}"
        );
        assert!(
            text.contains(words) && !text.contains('<') && text.lines().count() == 1,
            "{manner:?}: {text}"
        );
        assert!(!text.contains("secret-of-the-test"), "{text}");
        assert_eq!(server.asked(), most, "{manner:?}");
        // Nobody may take it for an empty one.
        for error in [
            bucket.get(NAME).unwrap_err(),
            bucket.list("").unwrap_err(),
            bucket.remove(NAME).unwrap_err(),
        ] {
            let text = format!("{:#}", anyhow::Error::from(error));
            assert!(text.contains(words), "{manner:?}: {text}");
        }
    }
}

#[test]
fn a_bucket_that_is_away_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let error = bucket(folder.path(), port).get(NAME).unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains(&format!("cannot connect to 127.0.0.1:{port}")) && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn what_a_lying_bucket_keeps_comes_out_when_it_is_read_back() {
    for (manner, found) in [(Manner::Drops, None), (Manner::Changes, Some(b"1123".to_vec()))] {
        let (server, folder) = (Server::start(manner), tempfile::tempdir().unwrap());
        let bucket = server.bucket(folder.path());
        assert_eq!(bucket.put_if_absent(NAME, b"0123").unwrap(), Put::New);
        assert_eq!(bucket.get(NAME).unwrap(), found, "{manner:?}");
    }
}

#[test]
fn without_credentials_nothing_is_asked() {
    let (server, folder) = (Server::start(Manner::Honest), tempfile::tempdir().unwrap());
    let bucket = server.bucket(folder.path());
    std::fs::remove_file(folder.path().join("credentials")).unwrap();
    let error = bucket.get(NAME).unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("credentials_file: cannot read key file"), "{text}");
    assert_eq!(server.asked(), 0);
}
