//! Decompression (RFC 1950, RFC 1951), for the vectors, whose bodies are compressed. Only for input that is known to be good.

/// Inflates a zlib stream; its checksum is left alone.
pub(super) fn inflate(zlib: &[u8]) -> Vec<u8> {
    let mut bits = Bits {
        data: &zlib[2..],
        place: 0,
    };
    let mut out = Vec::new();
    loop {
        let is_last = bits.take(1) == 1;
        match bits.take(2) {
            0 => stored(&mut bits, &mut out),
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                codes(
                    &mut bits,
                    &mut out,
                    &Huffman::new(&lengths),
                    &Huffman::new(&[5; 30]),
                );
            }
            2 => {
                let (literals, distances) = dynamic(&mut bits);
                codes(&mut bits, &mut out, &literals, &distances);
            }
            _ => panic!("no such block"),
        }
        if is_last {
            return out;
        }
    }
}

struct Bits<'a> {
    data: &'a [u8],
    /// In bits.
    place: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).fold(0, |value, n| {
            let bit = self.data[self.place / 8] >> (self.place % 8) & 1;
            self.place += 1;
            value | usize::from(bit) << n
        })
    }
}

/// A canonical Huffman code: how many symbols have each length, and the symbols in order.
struct Huffman {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Huffman {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let of_length = (0..lengths.len()).filter(|s| lengths[*s] == length);
            symbols.extend(of_length);
            *count = lengths.iter().filter(|l| **l == length).count();
        }
        Self { counts, symbols }
    }

    fn decode(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code")
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) {
    let start = bits.place.div_ceil(8);
    let len = usize::from(u16::from_le_bytes([bits.data[start], bits.data[start + 1]]));
    out.extend_from_slice(&bits.data[start + 4..][..len]);
    bits.place = (start + 4 + len) * 8;
}

fn dynamic(bits: &mut Bits<'_>) -> (Huffman, Huffman) {
    const ORDER: [usize; 19] = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    let literals = bits.take(5) + 257;
    let distances = bits.take(5) + 1;
    let given = bits.take(4) + 4;
    let mut lengths = [0; 19];
    for place in &ORDER[..given] {
        lengths[*place] = bits.take(3);
    }
    let code = Huffman::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, count) = match code.decode(bits) {
            16 => (*lengths.last().unwrap(), 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(value, count));
    }
    (
        Huffman::new(&lengths[..literals]),
        Huffman::new(&lengths[literals..]),
    )
}

fn codes(bits: &mut Bits<'_>, out: &mut Vec<u8>, literals: &Huffman, distances: &Huffman) {
    loop {
        match literals.decode(bits) {
            symbol @ 0..=255 => out.push(u8::try_from(symbol).unwrap()),
            256 => return,
            symbol => {
                let len = match symbol - 257 {
                    n @ 0..=7 => n + 3,
                    28 => 258,
                    n => ((4 + n % 4) << (n / 4 - 1)) + 3 + bits.take(n / 4 - 1),
                };
                let distance = match distances.decode(bits) {
                    n @ 0..=3 => n + 1,
                    n => ((2 + n % 2) << (n / 2 - 1)) + 1 + bits.take(n / 2 - 1),
                };
                for _ in 0..len {
                    out.push(out[out.len() - distance]);
                }
            }
        }
    }
}
