//! Where the tests ship to.

use aegis_audit_ship::Address;
use aegis_buckets::{Moto, azure_options, google_options, options};

/// A bucket of the S3 that listens on `port`.
pub(crate) fn of_port(port: u16, bucket: &str) -> Address {
    Address { url: format!("s3://{bucket}/gw-1"), options: options(port) }
}

/// A bucket of a Moto.
pub(crate) fn of(moto: &Moto, bucket: &str) -> Address {
    of_port(moto.port(), bucket)
}

/// A container of the Azurite that listens on `port`.
pub(crate) fn of_azure(port: u16, container: &str) -> Address {
    Address { url: format!("az://{container}/gw-1"), options: azure_options(port) }
}

/// A bucket of the Google that listens on `port`.
pub(crate) fn of_google(port: u16, bucket: &str) -> Address {
    Address { url: format!("gs://{bucket}/gw-1"), options: google_options(port) }
}
