//! Where the tests ship to.

use aegis_audit_ship::Address;
use aegis_buckets::Moto;

/// A bucket of the S3 that listens on `port`.
pub(crate) fn of_port(port: u16, bucket: &str) -> Address {
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Address { url: format!("s3://{bucket}/gw-1"), options }
}

/// A bucket of a Moto.
pub(crate) fn of(moto: &Moto, bucket: &str) -> Address {
    of_port(moto.port(), bucket)
}
