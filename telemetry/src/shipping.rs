//! How the audit log gets into its bucket, as gauges that are set when somebody asks.
//!
//! Not here: shipping (`audit/ship`). Invariant: no label, so no name of anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How the shipper is doing.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    pub backlog_bytes: u64,
    pub segments: u64,
    /// Whether the last try failed.
    pub is_troubled: bool,
    /// Unix time at which a segment was confirmed last; `None` before the first of this life.
    pub last_unix_s: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct ShippingMetrics {
    backlog: Gauge<u64, AtomicU64>,
    segments: Counter,
    trouble: Gauge<u64, AtomicU64>,
    last: Gauge<u64, AtomicU64>,
}

impl ShippingMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "aegis_audit_backlog",
            "Records on this disk that are not confirmed in the audit bucket; 0 where there is none",
            Unit::Bytes,
            self.backlog.clone(),
        );
        registry.register(
            "aegis_audit_segments_shipped",
            "Segments confirmed in the audit bucket",
            self.segments.clone(),
        );
        registry.register(
            "aegis_audit_shipping_trouble",
            "Whether the last try to ship failed",
            self.trouble.clone(),
        );
        registry.register_with_unit(
            "aegis_audit_last_shipped_timestamp",
            "Unix time of the last confirmed segment; 0 before the first",
            Unit::Seconds,
            self.last.clone(),
        );
    }

    pub(crate) fn set(&self, shipped: Shipped) {
        self.backlog.set(shipped.backlog_bytes);
        // It never falls while the process lives.
        self.segments.inner().store(shipped.segments, Ordering::Relaxed);
        self.trouble.set(u64::from(shipped.is_troubled));
        self.last.set(shipped.last_unix_s.unwrap_or(0));
    }
}
