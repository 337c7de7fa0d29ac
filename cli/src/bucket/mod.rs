//! An S3-compatible bucket as a store of the archive.
//!
//! Files are put only where none of that name is (`If-None-Match: *`, RFC 9110 §13.1.2), so several
//! gateways and several attempts never overwrite each other. What a bucket acknowledges is not believed:
//! whoever puts reads back. Requests are tried a few times and then given up, with one sentence.

mod credentials;
mod wire;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use evidence::archive::{Put, Store, StoreError, StoredFile, is_listed};
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig,
};

use crate::bucket_config::BucketAddress;
use crate::config::Config;
use credentials::Credentials;
use wire::Wire;

/// Attempts beside the first.
const RETRIES: usize = 3;
/// No attempt begins later than this after the first.
const RETRYING: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longer complaints of a server are cut.
const MAX_COMPLAINT: usize = 200;

/// The bucket of a configuration. Nothing is read or connected before it is used first.
pub struct Bucket {
    address: BucketAddress,
    config: Config,
    open: OnceLock<Result<Open, String>>,
}

/// A bucket in use, with a thread of its own to wait on the network.
struct Open {
    store: AmazonS3,
    runtime: Option<tokio::runtime::Runtime>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.place()).finish()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Waiting for it is not allowed everywhere, and nothing is under way any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Open {
    fn new(address: &BucketAddress, config: &Config) -> anyhow::Result<Self> {
        let settings = config.file.evidence.bucket.clone().unwrap_or_default();
        let credentials = Credentials::of(config, &settings);
        credentials.read()?;
        let wire = Wire::new(config, &settings)?;
        let endpoint = settings.endpoint();
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if settings.virtual_host => format!("{scheme}://{}.{host}", address.bucket),
            _ => endpoint,
        };
        let store = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(settings.region())
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(settings.virtual_host)
            .with_allow_http(true)
            // Not every server knows the request that removes many files at once.
            .with_disable_bulk_delete(true)
            .with_credentials(Arc::new(credentials))
            .with_http_connector(wire)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: FIRST_PAUSE,
                    max_backoff: LONGEST_PAUSE,
                    base: 2.0,
                },
                max_retries: RETRIES,
                retry_timeout: RETRYING,
            })
            .build()
            .context("the bucket's settings")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bucket")
            .enable_all()
            .build()
            .context("cannot start a thread")?;
        Ok(Self {
            store,
            runtime: Some(runtime),
        })
    }

    /// Waits for `work` on the bucket's own thread, so that whoever calls may be anywhere.
    fn wait<T, F>(&self, work: impl FnOnce(AmazonS3) -> F) -> Result<T, io::Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let gone = || io::Error::other("its thread has ended");
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = work(self.store.clone());
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move {
            // Whoever asked waits.
            let _ = sender.send(work.await);
        });
        receiver.recv().map_err(|_| gone())?.map_err(in_words)
    }
}

impl Bucket {
    /// The bucket that `archive_to` names.
    pub fn new(address: BucketAddress, config: &Config) -> Self {
        Self {
            address,
            config: config.clone(),
            open: OnceLock::new(),
        }
    }

    fn open(&self) -> Result<&Open, io::Error> {
        let open = || Open::new(&self.address, &self.config).map_err(|error| format!("{error:#}"));
        let open = self.open.get_or_init(open);
        open.as_ref().map_err(|why| io::Error::other(why.clone()))
    }

    fn path(&self, name: &str) -> Result<Path, io::Error> {
        let whole = match self.address.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !whole.split('/').all(plain) {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        Path::parse(whole).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
    }

    fn put(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<Put, io::Error> {
        let (path, bytes) = (self.path(name)?, bytes.to_vec());
        self.open()?.wait(|store| async move {
            let options = PutOptions::from(mode);
            match store.put_opts(&path, bytes.into(), options).await {
                Ok(_) => Ok(Put::New),
                Err(Error::AlreadyExists { .. }) => Ok(Put::Existed),
                Err(error) => Err(error),
            }
        })
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, io::Error> {
        let path = self.path(name)?;
        self.open()?.wait(|store| async move {
            let options = GetOptions {
                range: range.map(GetRange::Bounded),
                ..GetOptions::default()
            };
            let answer = match store.get_opts(&path, options).await {
                Ok(answer) => answer,
                Err(Error::NotFound { source, .. }) if is_missing_bucket(source.as_ref()) => {
                    return Err(missing_bucket(source));
                }
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            Ok(Some(answer.bytes().await?.to_vec()))
        })
    }

    fn delete(&self, name: &str) -> Result<(), io::Error> {
        let path = self.path(name)?;
        self.open()?.wait(|store| async move {
            match store.delete(&path).await {
                // Most servers say yes to a file that is gone, some say that it is.
                Err(Error::NotFound { source, .. }) if !is_missing_bucket(source.as_ref()) => Ok(()),
                gone => gone,
            }
        })
    }

    fn measure(&self, name: &str) -> Result<Option<u64>, io::Error> {
        let path = self.path(name)?;
        self.open()?.wait(|store| async move {
            match store.head(&path).await {
                Ok(found) => Ok(Some(found.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn walk(&self, prefix: &str) -> Result<Vec<StoredFile>, io::Error> {
        let own = match self.address.prefix.as_str() {
            "" => String::new(),
            own => format!("{own}/"),
        };
        let below = match prefix.trim_end_matches('/') {
            "" if own.is_empty() => None,
            "" => Some(Path::from(self.address.prefix.as_str())),
            name => Some(self.path(name)?),
        };
        let mut found = self.open()?.wait(|store| async move {
            let listed = store.list(below.as_ref()).map_ok(|found| StoredFile {
                name: found.location.to_string(),
                size_bytes: found.size,
            });
            listed.try_collect::<Vec<_>>().await
        })?;
        found.retain_mut(|file| match file.name.strip_prefix(&own) {
            Some(name) => {
                file.name = name.to_owned();
                is_listed(prefix, &file.name)
            }
            None => false,
        });
        found.sort();
        Ok(found)
    }

    fn error(&self, what: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        let (name, place) = (name.to_owned(), self.place());
        move |source| StoreError {
            what,
            name,
            place,
            source,
        }
    }
}

impl Store for Bucket {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        self.put(name, bytes, PutMode::Create)
            .map_err(self.error("put", name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let put = self.put(name, bytes, PutMode::Overwrite);
        put.map(|_| ()).map_err(self.error("put", name))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.delete(name).map_err(self.error("remove", name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(name, None).map_err(self.error("read", name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        // A server refuses a range that begins after the end, and an empty one.
        let Some(size) = self.measure(name).map_err(self.error("look at", name))? else {
            return Ok(None);
        };
        let end = range.end.min(size);
        if range.start >= end {
            return Ok(Some(Vec::new()));
        }
        self.read(name, Some(range.start..end))
            .map_err(self.error("read", name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, StoreError> {
        self.walk(prefix).map_err(self.error("list", prefix))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.measure(name).map_err(self.error("look at", name))
    }

    fn place(&self) -> String {
        self.address.to_string()
    }
}

/// Whether "not found" is about the bucket and not about the file (the code `NoSuchBucket` of S3).
fn is_missing_bucket(error: &(dyn std::error::Error + 'static)) -> bool {
    error.to_string().contains("NoSuchBucket")
}

fn missing_bucket(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::NotFound {
        path: String::new(),
        source,
    }
}

/// What a bucket said, as one short sentence without its document.
fn in_words(error: Error) -> io::Error {
    // Not every request's failure has a case of its own; the status is in its text.
    let text = error.to_string();
    let is_status = |status: &str| text.contains(&format!("status code: {status}"));
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => refused(),
        _ if is_status("401") || is_status("403") => refused(),
        Error::NotFound { .. } => missing(),
        _ if is_status("404") => missing(),
        Error::NotImplemented { .. } => {
            io::Error::other("the bucket cannot put a file only where none is, and so cannot be an archive")
        }
        error => {
            let mut deepest: &dyn std::error::Error = &error;
            while let Some(below) = deepest.source() {
                deepest = below;
            }
            // What follows an angle bracket is the server's document.
            let text = deepest.to_string();
            let text = text.split('<').next().unwrap_or_default();
            let text = text.replace("Server returned non-2xx status code:", "the server answered");
            let words: Vec<&str> = text.split_whitespace().collect();
            let text: String = words.join(" ").chars().take(MAX_COMPLAINT).collect();
            io::Error::other(text.trim_end_matches([':', ' ']).to_owned())
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the bucket refuses these credentials for this",
    )
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "there is no such bucket; make it first")
}

#[cfg(test)]
mod tests;
