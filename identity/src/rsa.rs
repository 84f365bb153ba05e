//! Which RSA public keys are worth trusting a signature to.
//!
//! Not here: checking signatures (`public_key`, by ring). Invariant: a key that passes has 2,048 to 8,192
//! bits, an odd modulus and exponent, and no mark of the ROCA generator.

use crate::KeyError;

const BITS_MIN: usize = 2_048;
/// The most that ring verifies with.
const BITS_MAX: usize = 8_192;
/// 33 bits, as in ring: a longer exponent only costs time.
const EXPONENT_BYTES_MAX: usize = 5;

/// Primes p for which the powers of 65,537 miss part of the residues mod p. Moduli made by the flawed
/// Infineon library fall on such powers for every one of them, others with a chance of about 2^-28
/// (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, §2; CVE-2017-15361).
const ROCA_PRIMES: [u32; 17] =
    [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Checks big-endian modulus and exponent.
pub(crate) fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    let (Some(&top), Some(&low)) = (modulus.first(), modulus.last()) else {
        return Err(KeyError::MemberMalformed { name: "n" });
    };
    if top == 0 || low % 2 == 0 {
        return Err(KeyError::MemberMalformed { name: "n" });
    }
    let top_zeros = usize::try_from(top.leading_zeros()).unwrap_or(0);
    let bits = modulus.len().saturating_mul(8).saturating_sub(top_zeros);
    if !(BITS_MIN..=BITS_MAX).contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    let odd = exponent.last().is_some_and(|low| low % 2 == 1);
    let canonical = exponent.first().is_some_and(|top| *top != 0);
    if !odd || !canonical || exponent == [1] || exponent.len() > EXPONENT_BYTES_MAX {
        return Err(KeyError::MemberMalformed { name: "e" });
    }
    if ROCA_PRIMES.iter().all(|prime| is_power_of_65537(modulus, *prime)) {
        return Err(KeyError::RsaRoca);
    }
    Ok(())
}

/// Whether `modulus` mod `prime` is a power of 65,537 mod `prime`.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "every operand is below 2^17, prime is not zero"
)]
fn is_power_of_65537(modulus: &[u8], prime: u32) -> bool {
    let residue = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * (65_537 % prime) % prime;
    }
    false
}
