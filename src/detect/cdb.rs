//! Reads the keys of a cdb file, which `postmap -s` refuses to list.
//!
//! The format (<https://cr.yp.to/cdb/cdb.txt>): 256 pairs of (position, length) of hash tables, then the records, each
//! `u32le key length, u32le data length, key, data`, up to the first hash table. A file that contradicts itself is an error.

/// Why a file is not a cdb file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a cdb file: {0}")]
pub struct CdbError(&'static str);

/// A key with its data.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// The records as (key, data), in the file's order.
///
/// # Errors
/// When lengths or positions point outside of the file.
pub(super) fn records(file: &[u8]) -> Result<Vec<Record<'_>>, CdbError> {
    let tables = (0..256).map(|table| word(file, table * 8)).collect::<Option<Vec<usize>>>();
    let end = tables.ok_or(CdbError("shorter than its header"))?.into_iter().min().unwrap_or(HEADER);
    if end < HEADER || end > file.len() {
        return Err(CdbError("a table lies outside"));
    }
    let mut rest = &file[HEADER..end];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (key, data) = word(rest, 0).zip(word(rest, 4)).ok_or(CdbError("a record is cut"))?;
        let body = &rest[8..];
        if key > body.len() || data > body.len() - key {
            return Err(CdbError("a record is cut"));
        }
        records.push((&body[..key], &body[key..key + data]));
        rest = &body[key + data..];
    }
    Ok(records)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

/// A file that is one is nothing but its records, and is none when it is cut. For tests/fuzz.
pub(super) fn fuzz_records(file: &[u8]) {
    let Ok(read) = records(file) else { return };
    let mut body = Vec::new();
    for (key, data) in &read {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        body.extend([&length(key)[..], &length(data), key, data].concat());
    }
    let end = HEADER + body.len();
    assert_eq!(file.get(HEADER..end), Some(&*body), "the records are all there is before the tables");
    assert_eq!(records(&file[..end]), Ok(read), "the tables are no records");
    for cut in [end.saturating_sub(1), end / 2, HEADER, HEADER - 1] {
        assert!(cut == end || records(&file[..cut]).is_err(), "cut at {cut} of {end}");
    }
}

/// A file with these bytes in place of its records. For tests/fuzz.
pub(super) fn around(body: &[u8]) -> Vec<u8> {
    let end = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let tables = (0..256).flat_map(|_| [end, [0; 4]].concat());
    tables.chain(body.iter().copied()).collect()
}

const HEADER: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (key, data) in records {
            body.extend_from_slice(&u32::try_from(key.len()).unwrap().to_le_bytes());
            body.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(data);
        }
        let end = u32::try_from(HEADER + body.len()).unwrap().to_le_bytes();
        let mut file: Vec<u8> = (0..256).flat_map(|_| [end, [0; 4]].concat()).collect();
        file.extend(body);
        file
    }

    #[test]
    fn records_are_read() {
        let some: [(&[u8], &[u8]); 2] = [(b"joe@a.test", b"x"), (b"", b"")];
        assert_eq!(records(&file(&some)).unwrap(), some);
        assert_eq!(records(&file(&[])).unwrap(), []);
        assert!(records(b"").is_err());
        let cut = file(&some);
        assert!(records(&cut[..cut.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn hostile_files_do_not_panic(tail in prop::collection::vec(any::<u8>(), 0..200), end in 0u32..4096) {
            let mut bytes: Vec<u8> = (0..256).flat_map(|_| [end.to_le_bytes(), [0; 4]].concat()).collect();
            bytes.extend(tail);
            let _ = records(&bytes);
        }
    }
}
