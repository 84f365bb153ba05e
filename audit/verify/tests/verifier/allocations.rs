//! What does not wobble: how often the verifier asks for memory.

use aegis_audit_verify::{Alone, Crew, Depth, Options, Verdict, verify_region_with};

use crate::crews::Eager;
use crate::region::{Memory, Shape, Size, region, trust};

/// Allocations of a whole verification.
fn allocations(log: &Memory, crew: &dyn Crew, depth: Depth) -> u64 {
    let options = Options { depth, remembered: Vec::new(), witnessed_since: None };
    let trust = trust();
    let mut verdict = None;
    let counted = allocation_counter::measure(|| {
        verdict = Some(verify_region_with(crew, log, &trust, &options, &mut |_| {}).verdict());
    });
    assert_eq!(verdict, Some(Verdict::Pass));
    counted.count_total
}

#[test]
fn a_record_more_costs_no_allocation_more() {
    for (size, settled_after) in [(Size::Usual, 0), (Size::Usual, 50), (Size::Full, 0)] {
        let shape =
            Shape { files: 2, records_per_file: 1_000, settled_after, size, ..Shape::default() };
        let short = region(shape);
        let long = region(Shape { records_per_file: 5_000, ..shape });
        for depth in [Depth::Chain, Depth::Schema] {
            for crew in [&Alone as &dyn Crew, &Eager] {
                let few = allocations(&short, crew, depth);
                let many = allocations(&long, crew, depth);
                // 8,000 records more: the tree is some levels higher, and a table may grow once or twice.
                assert!(many <= few + 16, "{depth:?}: {few} for 2,000 records, {many} for 10,000");
            }
        }
    }
}
