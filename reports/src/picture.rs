//! Pictures for letters: mail programs show no SVG, so these are small PNGs, drawn without a font.
//!
//! They carry no words. What a picture says stands beside it as text and in its alternative text, so
//! a reader who sees none misses nothing. Undeclared is red and hatched, declared is green and plain:
//! never by colour alone.

/// Colours: nothing, the track, declared, undeclared, doubtful, quiet.
const PALETTE: [u8; 18] = [
    0, 0, 0, 0xC9, 0xC2, 0xB6, 0x2E, 0x8B, 0x57, 0xD2, 0x3B, 0x2F, 0xC0, 0x86, 0x1C, 0x6B, 0x7A, 0x93,
];
/// The first colour is none: the page's own shows through, dark or light.
const TRANSPARENCY: [u8; 1] = [0];

const TRACK: u8 = 1;
const DECLARED: u8 = 2;
const UNDECLARED: u8 = 3;
const DOUBTFUL: u8 = 4;
const QUIET: u8 = 5;

/// An indexed picture.
struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; (width * height) as usize],
        }
    }

    fn fill(&mut self, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>, colour: u8) {
        for y in rows.start..rows.end.min(self.height) {
            for x in columns.start..columns.end.min(self.width) {
                self.pixels[(y * self.width + x) as usize] = colour;
            }
        }
    }

    /// Takes every fourth diagonal out of what has `colour`.
    fn hatch(&mut self, colour: u8) {
        for y in 0..self.height {
            for x in 0..self.width {
                let pixel = &mut self.pixels[(y * self.width + x) as usize];
                if *pixel == colour && (x + y) % 8 < 2 {
                    *pixel = 0;
                }
            }
        }
    }

    fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(PALETTE.as_slice());
        encoder.set_trns(TRANSPARENCY.as_slice());
        encoder.set_compression(png::Compression::High);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels))
            .expect("a picture of the size that it says is written into memory");
        bytes
    }
}

/// When something was seen within a period: a stretch from `left`, `width` long, in thousandths.
pub(crate) fn strip(left: i64, width: i64, tone: &str) -> Vec<u8> {
    let place = |thousandth: i64| u32::try_from(thousandth.clamp(0, 1000)).unwrap_or(0);
    let colour = match tone {
        "bad" => UNDECLARED,
        "doubt" => DOUBTFUL,
        _ => QUIET,
    };
    let mut canvas = Canvas::new(1000, 14);
    canvas.fill(0..1000, 5..9, TRACK);
    canvas.fill(place(left)..place(left + width), 0..14, colour);
    canvas.png()
}

/// How much went to one destination, beside the destination with the `most`.
pub(crate) fn bar(connections: u64, most: u64, is_declared: bool) -> Vec<u8> {
    const WIDTH: u32 = 480;
    let length = u128::from(connections) * u128::from(WIDTH) / u128::from(most.max(1));
    // Something that happened is never drawn as nothing.
    let length = u32::try_from(length).unwrap_or(WIDTH).clamp(6, WIDTH);
    let colour = if is_declared { DECLARED } else { UNDECLARED };
    let mut canvas = Canvas::new(WIDTH, 20);
    canvas.fill(0..WIDTH, 9..11, TRACK);
    canvas.fill(0..length, 0..20, colour);
    if !is_declared {
        canvas.hatch(colour);
    }
    canvas.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(bytes: &[u8]) -> (u32, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let width = reader.info().width;
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        (width, pixels)
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_nothing() {
        let length = |connections, most| {
            let (width, pixels) = pixels(&bar(connections, most, true));
            pixels[..width as usize]
                .iter()
                .filter(|&&pixel| pixel == DECLARED)
                .count()
        };
        assert_eq!(length(50, 100), 240);
        assert_eq!(length(100, 100), 480);
        assert_eq!(length(1, 1_000_000), 6);
        assert_eq!(length(0, 0), 6);
        assert_eq!(length(u64::MAX, u64::MAX), 480);
    }

    #[test]
    fn undeclared_is_hatched_and_declared_is_not() {
        let holes = |is_declared| {
            let (width, pixels) = pixels(&bar(1, 1, is_declared));
            pixels[..width as usize]
                .iter()
                .filter(|&&pixel| pixel == 0)
                .count()
        };
        assert_eq!(holes(true), 0);
        assert!(holes(false) > 50);
    }

    #[test]
    fn a_strip_lies_where_it_says() {
        let (width, pixels) = pixels(&strip(250, 100, "bad"));
        let row = &pixels[..width as usize];
        assert_eq!(row.iter().position(|&pixel| pixel == UNDECLARED), Some(250));
        assert_eq!(row.iter().filter(|&&pixel| pixel == UNDECLARED).count(), 100);
        assert!(strip(0, 1000, "bad").len() < 600);
        // What lies outside is cut, whoever computed it.
        strip(-5, 10_000, "doubt");
    }
}
