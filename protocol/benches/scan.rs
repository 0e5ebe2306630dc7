//! Cost of scanning requests, writing replies and finding slots.

use coterie_protocol::{Limits, ReplyWriter, RespVersion, Scanner, Slot};
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

/// `count` requests to SET a key of 16 bytes to a value of 64.
fn sets(count: usize) -> Vec<u8> {
    let request = format!(
        "*3\r\n$3\r\nSET\r\n$16\r\nkey:{:012}\r\n$64\r\n{}\r\n",
        42,
        "v".repeat(64)
    );
    request.repeat(count).into_bytes()
}

#[divan::bench(args = [1, 30])]
fn scan_set(bencher: Bencher, batch: usize) {
    let bytes = sets(batch);
    let limits = Limits::default();
    let mut scanner = Scanner::new();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        let mut buffer = black_box(&bytes[..]);
        while let Ok(Some(length)) = scanner.scan(buffer, &limits) {
            let request = scanner.request(buffer);
            black_box((request.name(), request.arg(1), request.arg(2)));
            buffer = &buffer[length..];
        }
    });
}

#[divan::bench]
fn scan_mset_of_20001_arguments_in_pieces_of_4_kib(bencher: Bencher) {
    let mut bytes = b"*20001\r\n$4\r\nMSET\r\n".to_vec();
    for index in 0..20_000 {
        bytes.extend_from_slice(format!("$16\r\n{index:016}\r\n").as_bytes());
    }
    let limits = Limits::default();
    let mut scanner = Scanner::new();
    bencher.bench_local(|| {
        for end in (0..bytes.len()).step_by(4096).chain([bytes.len()]) {
            black_box(scanner.scan(black_box(&bytes[..end]), &limits)).ok();
        }
    });
}

#[divan::bench(args = [4, 16, 40])]
fn slot_of_key(bencher: Bencher, length: usize) {
    let key = "key:0123456789abcdefghijklmnopqrstuvwxyz".as_bytes()[..length].to_vec();
    bencher.bench(|| Slot::of(black_box(&key)));
}

#[divan::bench]
fn write_bulk_of_64(bencher: Bencher) {
    let mut out = Vec::with_capacity(4096);
    bencher.counter(ItemsCount::new(30usize)).bench_local(|| {
        out.clear();
        let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp2);
        for _ in 0..30 {
            reply.bulk(black_box(&[b'v'; 64]));
        }
        black_box(reply.len())
    });
}
