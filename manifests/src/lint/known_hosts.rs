//! Names that a careful reviewer knows. Short on purpose: each name stands here because a promise
//! about it says less than it seems to, and the reason is the list's own sentence.

/// Suffixes under which strangers rent names, and which the public suffix list lacks. Under a
/// wildcard on one of these an attacker's own tenant would conform.
pub(super) const MULTI_TENANT: &[&str] = &[
    "atlassian.net",
    "auth0.com",
    "aivencloud.com",
    "azure-api.net",
    "azurecr.io",
    "azuredatabricks.net",
    "backblazeb2.com",
    "cloud.databricks.com",
    "cognitiveservices.azure.com",
    "confluent.cloud",
    "core.windows.net",
    "database.windows.net",
    "dfs.core.windows.net",
    "documents.azure.com",
    "elastic-cloud.com",
    "file.core.windows.net",
    "inference.ai.azure.com",
    "mongodb.net",
    "my.salesforce.com",
    "okta.com",
    "openai.azure.com",
    "pinecone.io",
    "queue.core.windows.net",
    "r2.cloudflarestorage.com",
    "redis.cache.windows.net",
    "s3.amazonaws.com",
    "search.windows.net",
    "servicebus.windows.net",
    "services.ai.azure.com",
    "sharepoint.com",
    "snowflakecomputing.com",
    "storage.googleapis.com",
    "table.core.windows.net",
    "upstash.io",
    "vault.azure.net",
    "wasabisys.com",
    "zendesk.com",
];

/// Tunnels, pastes, drop boxes and webhook catchers: whatever goes there can be read by anybody.
pub(super) const RELAYS: &[&str] = &[
    "0x0.st",
    "beeceptor.com",
    "file.io",
    "ghostbin.com",
    "hastebin.com",
    "hookbin.com",
    "interact.sh",
    "ix.io",
    "loca.lt",
    "localhost.run",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "oast.fun",
    "oast.live",
    "oast.me",
    "oast.online",
    "oast.pro",
    "oast.site",
    "oastify.com",
    "paste.ee",
    "pastebin.com",
    "pinggy.io",
    "pipedream.net",
    "playit.gg",
    "requestbin.com",
    "requestcatcher.com",
    "rentry.co",
    "serveo.net",
    "sprunge.us",
    "temp.sh",
    "termbin.com",
    "transfer.sh",
    "trycloudflare.com",
    "webhook.site",
];

/// Names under which every address of the world can be spelled, private ones included.
pub(super) const ADDRESS_SPELLERS: &[&str] = &[
    "localtest.me",
    "lvh.me",
    "nip.io",
    "sslip.io",
    "traefik.me",
    "xip.io",
];

/// Names at which clouds serve instance metadata and credentials.
pub(super) const METADATA_NAMES: &[&str] = &[
    "instance-data.ec2.internal",
    "metadata.goog",
    "metadata.google.internal",
];

/// Addresses at which clouds serve instance metadata and credentials.
pub(super) const METADATA_ADDRESSES: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
];

/// Networks that no public server lives in.
pub(super) const PRIVATE_NETWORKS: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::/127",
    "fc00::/7",
    "fe80::/10",
];

/// Endings of names that exist on some local network alone.
pub(super) const LOCAL_ENDINGS: &[&str] = &["home.arpa", "internal", "lan", "local", "localhost"];
