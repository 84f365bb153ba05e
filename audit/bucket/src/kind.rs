//! Which kind of store an address names: the client of its objects, and what else this kind can be asked.
//!
//! Not here: the questions (`lock`, `google`, `azure`). Invariant: making a client sends nothing.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::signer::Url;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreScheme, RetryConfig};

use crate::azure::AzureContainer;
use crate::google::GoogleBucket;
use crate::lock::Locks;
use crate::{Address, BucketError, CONNECT_TIMEOUT};

/// No request may take longer; a segment has at most 48 MiB before it is compressed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The shipper tries again for as long as it lives, so a single request need not.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// What can be asked besides objects.
#[derive(Debug)]
pub(crate) enum Kind {
    Folder(PathBuf),
    S3(Locks),
    Google(GoogleBucket),
    Azure(AzureContainer),
}

type Opened = (Arc<dyn ObjectStore>, Kind);

pub(crate) fn open(
    scheme: &ObjectStoreScheme,
    url: &Url,
    address: &Address,
) -> Result<Opened, BucketError> {
    match scheme {
        ObjectStoreScheme::Local => folder(url, address),
        ObjectStoreScheme::AmazonS3 => s3(url, address),
        ObjectStoreScheme::GoogleCloudStorage => google(url, address),
        ObjectStoreScheme::MicrosoftAzure => azure(url, address),
        _ => Err(BucketError::Address(address.url.clone())),
    }
}

fn folder(url: &Url, address: &Address) -> Result<Opened, BucketError> {
    let dir = url.to_file_path().map_err(|()| BucketError::Address(address.url.clone()))?;
    let store = LocalFileSystem::new_with_prefix(&dir).map_err(BucketError::Client)?;
    Ok((Arc::new(store.with_fsync(true)), Kind::Folder(dir)))
}

fn s3(url: &Url, address: &Address) -> Result<Opened, BucketError> {
    let builder = AmazonS3Builder::from_env()
        .with_client_options(client_options())
        .with_retry(retry())
        .with_checksum_algorithm(Checksum::SHA256);
    let builder = configured(builder, address, AmazonS3Builder::with_config)?;
    let store = Arc::new(builder.with_url(url.as_str()).build().map_err(BucketError::Client)?);
    Ok((Arc::clone(&store) as _, Kind::S3(Locks::new(store)?)))
}

fn google(url: &Url, address: &Address) -> Result<Opened, BucketError> {
    let builder = GoogleCloudStorageBuilder::from_env()
        .with_client_options(client_options())
        .with_retry(retry());
    let builder = configured(builder, address, GoogleCloudStorageBuilder::with_config)?;
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let store = Arc::new(builder.with_url(url.as_str()).build().map_err(BucketError::Client)?);
    let bucket = url.host_str().unwrap_or_default();
    let bucket = GoogleBucket::new(Arc::clone(&store), endpoint.as_deref(), bucket)?;
    Ok((store, Kind::Google(bucket)))
}

fn azure(url: &Url, address: &Address) -> Result<Opened, BucketError> {
    let builder =
        MicrosoftAzureBuilder::from_env().with_client_options(client_options()).with_retry(retry());
    let builder = configured(builder, address, MicrosoftAzureBuilder::with_config)?;
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let account = builder.get_config_value(&AzureConfigKey::AccountName).unwrap_or_default();
    let store = Arc::new(builder.with_url(url.as_str()).build().map_err(BucketError::Client)?);
    let (endpoint, container) = (endpoint.as_deref(), url.host_str().unwrap_or_default());
    let container = AzureContainer::new(Arc::clone(&store), (endpoint, account), container)?;
    Ok((store, Kind::Azure(container)))
}

/// A builder that was told the options of the address.
fn configured<B, K: FromStr<Err = Error>>(
    builder: B,
    address: &Address,
    with: impl Fn(B, K, String) -> B,
) -> Result<B, BucketError> {
    address.options.iter().try_fold(builder, |builder, (key, value)| {
        let key = key.parse().map_err(BucketError::Client)?;
        Ok(with(builder, key, value.clone()))
    })
}

fn client_options() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT)
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}
