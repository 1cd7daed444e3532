//! What a crash leaves is cut, everything else is an alarm: all cuts and all bit flips of a log.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers")]

use super::*;
use crate::note::Signer;
use crate::testing::TestSigner;

const ORIGIN: &str = "acme.log.example";

fn leaf(seq: u64) -> Vec<u8> {
    format!(
        "{{\"actor\":null,\"at\":1,\"call\":null,\"detail\":{{}},\"kind\":\"list\",\"log\":\"{ORIGIN}\",\
         \"seq\":{seq},\"session\":null,\"session_prev\":null,\"session_seq\":null,\
         \"tenant\":\"acme\",\"v\":1}}"
    )
    .into_bytes()
}

struct Log {
    bytes: Vec<u8>,
    /// Ends of the commits, and anchors after each.
    commits: Vec<(usize, Anchor)>,
}

fn keys() -> Vec<TrustedKey> {
    vec![TrustedKey { name: None, key: TestSigner::ed25519(1).public() }]
}

/// Commits of one, two, three … records.
fn log(commits: u64) -> Log {
    let signer = TestSigner::ed25519(1);
    let mut log = Log { bytes: header(ORIGIN, 0), commits: Vec::new() };
    let mut frontier = Frontier::default();
    for commit in 0..commits {
        for _ in 0..=commit {
            let leaf = leaf(frontier.size());
            write_frame(&mut log.bytes, FrameKind::Record, &leaf).unwrap();
            frontier.push(leaf_hash(&leaf));
        }
        let (size, root) = (frontier.size(), frontier.root());
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root };
        let note = checkpoint.sign(&signer).unwrap().to_bytes();
        write_frame(&mut log.bytes, FrameKind::Checkpoint, &note).unwrap();
        log.commits.push((log.bytes.len(), Anchor { size, root }));
    }
    log
}

/// Reads one segment as the newest: how many leaves, and how many bytes are kept.
fn recover(bytes: &[u8], anchor: Option<Anchor>) -> Result<(u64, Kept), Alarm> {
    let keys = keys();
    let mut replay = Replay::new(ORIGIN, &keys, anchor);
    let mut seen = 0;
    let kept = replay.segment(&file_name(0), bytes, true, &mut |leaf| {
        assert_eq!(leaf.seq, seen);
        seen += 1;
    })?;
    replay.finish("log")?;
    assert_eq!(replay.frontier().size(), seen);
    Ok((seen, kept))
}

#[test]
fn every_cut_behind_what_was_acknowledged_keeps_just_that() {
    let log = log(3);
    for (at, (acknowledged, anchor)) in log.commits.iter().enumerate() {
        let next = log.commits.get(at + 1).map_or(log.bytes.len(), |(end, _)| *end);
        for length in *acknowledged..next {
            let (leaves, kept) = recover(&log.bytes[..length], Some(*anchor)).unwrap();
            assert_eq!((leaves, kept.keep), (anchor.size, *acknowledged));
            assert_eq!(kept.cut, length - acknowledged);
        }
        for length in 0..*acknowledged {
            assert!(recover(&log.bytes[..length], Some(*anchor)).is_err(), "cut at {length}");
        }
    }
}

#[test]
fn every_bit_flip_before_what_was_acknowledged_is_an_alarm() {
    let log = log(3);
    let anchor = log.commits.last().unwrap().1;
    for index in 0..log.bytes.len() {
        for bit in [0, 3, 7] {
            let mut bent = log.bytes.clone();
            bent[index] ^= 1 << bit;
            assert!(recover(&bent, Some(anchor)).is_err(), "byte {index} bit {bit}");
        }
    }
}

#[test]
fn without_an_anchor_damage_before_a_signed_checkpoint_is_an_alarm() {
    let log = log(3);
    let last_but_one = log.commits[1].0;
    for index in (0..last_but_one).step_by(3) {
        let mut bent = log.bytes.clone();
        bent[index] ^= 1;
        assert!(recover(&bent, None).is_err(), "byte {index}");
    }
}

#[test]
fn a_commit_whose_pages_came_in_any_order_is_cut() {
    let log = log(3);
    let (start, anchor) = log.commits[1];
    // The records of the last commit were lost, its checkpoint was not.
    let mut torn = log.bytes.clone();
    torn[start..start + 200].fill(0);
    assert_eq!(recover(&torn, Some(anchor)).unwrap().1.keep, start);
    // The same, but the commit had been acknowledged.
    assert!(recover(&torn, Some(log.commits[2].1)).is_err());
    for tail in [&[0; 100][..], &[0xff; 100], b"garbage"] {
        let longer = [&log.bytes[..], tail].concat();
        assert_eq!(recover(&longer, Some(anchor)).unwrap().1.cut, tail.len());
    }
}

#[test]
fn a_rewrite_with_right_checksums_is_an_alarm() {
    let log = log(2);
    let mut bent = header(ORIGIN, 0);
    let mut rest = &log.bytes[bent.len()..];
    let mut first = true;
    while let Some((frame, behind)) = read_frame(rest) {
        let mut bytes = frame.bytes.to_vec();
        if frame.kind == FrameKind::Record && std::mem::take(&mut first) {
            let at = bytes.windows(6).position(|w| w == b"\"at\":1").unwrap();
            bytes[at + 5] = b'2';
        }
        write_frame(&mut bent, frame.kind, &bytes).unwrap();
        rest = behind;
    }
    let alarm = recover(&bent, None).unwrap_err();
    assert!(matches!(alarm.fault, Fault::Root { signed: 1, found: 1 }), "{alarm}");
}

#[test]
fn segments_must_follow_each_other() {
    let log = log(2);
    let keys = keys();
    let mut replay = Replay::new(ORIGIN, &keys, None);
    replay.segment(&file_name(0), &log.bytes, false, &mut |_| {}).unwrap();
    let gap = replay.segment(&file_name(7), b"", true, &mut |_| {}).unwrap_err();
    assert!(matches!(gap.fault, Fault::Gap { want: 3 }), "{gap}");
    let torn = replay.segment(&file_name(3), b"forge-ev", true, &mut |_| {}).unwrap();
    assert_eq!(torn, Kept { keep: 0, cut: 8 });
    let mut replay = Replay::new(ORIGIN, &keys, None);
    let short = &log.bytes[..log.bytes.len() - 1];
    let alarm = replay.segment(&file_name(0), short, false, &mut |_| {}).unwrap_err();
    assert!(matches!(alarm.fault, Fault::Unfinished), "{alarm}");
    let mut other = Replay::new("other.log.example", &keys, None);
    assert!(other.segment(&file_name(0), &log.bytes, true, &mut |_| {}).is_err());
}

#[test]
fn frames_and_anchors_read_back_and_damage_does_not() {
    let mut out = Vec::new();
    assert!(write_frame(&mut out, FrameKind::Record, &vec![0; FRAME_BYTES_MAX + 1]).is_err());
    write_frame(&mut out, FrameKind::Record, b"abc").unwrap();
    assert_eq!(read_frame(&out).unwrap().0.bytes, b"abc");
    let anchor = Anchor { size: 7, root: Digest::of(b"") };
    let bytes = anchor.to_bytes();
    assert_eq!(Anchor::parse(&bytes), Some(anchor));
    for index in 0..bytes.len() {
        let mut bent = bytes;
        bent[index] ^= 1;
        assert_eq!(Anchor::parse(&bent), None);
    }
    assert_eq!(first_of("00000000000000000012.seg"), Some(12));
    for name in ["12.seg", "anchor", "0000000000000000001a.seg", "00000000000000000012.seg.bak"] {
        assert_eq!(first_of(name), None);
    }
}
