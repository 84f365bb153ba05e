//! Every home of the hot state against the one suite, and what each promises beyond it.
//!
//! Not here: rules inside one module (next to the code). Invariant: a case of `conformance` knows no home.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod embedded_crash;
#[cfg(test)]
mod leased;
#[cfg(test)]
mod redis;
