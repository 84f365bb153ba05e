//! How far the audit log's heads are witnessed, as gauges that are set when somebody asks.
//!
//! Not here: showing heads (`audit/witness`). Invariant: where nobody witnesses the log nothing lags and nobody is troubled, so an
//! alert never fires there; the names of witnesses are those of the configuration.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    witness: String,
}

/// How the region's voters are doing with this log.
#[derive(Clone, Copy, Debug)]
pub struct Anchored {
    /// How long the newest head has waited.
    pub lag_s: f64,
    /// Records of the registry that the head anchored last covers.
    pub size: u64,
    /// How many voters cosigned it.
    pub voters: u64,
}

/// How one outside witness is doing.
#[derive(Clone, Debug)]
pub struct Witnessed {
    pub witness: String,
    pub size: u64,
    pub is_troubled: bool,
}

#[derive(Debug, Default)]
pub(crate) struct AnchoringMetrics {
    lag: Gauge<f64, AtomicU64>,
    size: Gauge,
    voters: Gauge,
    outside_lag: Gauge<f64, AtomicU64>,
    witnessed: Family<WitnessLabels, Gauge>,
    trouble: Family<WitnessLabels, Gauge>,
}

impl AnchoringMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "aegis_audit_anchor_lag",
            "How long the audit log's newest head has waited for the region's voters; 0 where there are none",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register(
            "aegis_audit_anchored_size",
            "Records of the audit registry under the head that the voters anchored last",
            self.size.clone(),
        );
        registry.register(
            "aegis_audit_anchored_voters",
            "How many voters cosigned that head",
            self.voters.clone(),
        );
        registry.register_with_unit(
            "aegis_audit_witness_lag",
            "How long the heads shown to outside witnesses have lacked their quorum; 0 where none is asked for",
            Unit::Seconds,
            self.outside_lag.clone(),
        );
        registry.register(
            "aegis_audit_witnessed_size",
            "Records of the audit registry under the largest head that an outside witness cosigned",
            self.witnessed.clone(),
        );
        registry.register(
            "aegis_audit_witness_trouble",
            "Whether an outside witness did not cosign when it was asked last",
            self.trouble.clone(),
        );
    }

    pub(crate) fn set_anchored(&self, anchored: Anchored) {
        self.lag.set(anchored.lag_s);
        self.size.set(count(anchored.size));
        self.voters.set(count(anchored.voters));
    }

    pub(crate) fn set_outside_lag(&self, lag_s: f64) {
        self.outside_lag.set(lag_s);
    }

    pub(crate) fn set_witnessed(&self, witnessed: Witnessed) {
        let labels = WitnessLabels { witness: witnessed.witness };
        self.witnessed.get_or_create(&labels).set(count(witnessed.size));
        self.trouble.get_or_create(&labels).set(i64::from(witnessed.is_troubled));
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
