//! What a file is, by its first bytes, and whether a model's provider takes it.
//!
//! A picture the provider refuses would be refused again with every later request of the conversation, so what can be
//! told from the header is told before it gets there.

/// How much of a file is looked at.
pub(crate) const SNIFFED_BYTES: u64 = 16;
/// The media type of a PDF.
pub(crate) const PDF: &str = "application/pdf";
/// The longest side the Messages API takes.
const LONGEST_SIDE: u32 = 8000;

/// The media type of a picture or PDF that starts with `head`; `None` for everything else.
pub(crate) fn media_type(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some(PDF),
        _ => None,
    }
}

/// Refuses pictures that are broken off in their header, or too large on a side.
pub(crate) fn check(media_type: &str, bytes: &[u8]) -> Result<(), String> {
    if media_type == PDF {
        return Ok(());
    }
    let (width, height) = match media_type {
        "image/png" => png(bytes),
        "image/gif" => gif(bytes),
        "image/jpeg" => jpeg(bytes),
        _ => webp(bytes),
    }
    .ok_or_else(|| format!("not a whole {media_type}: its header is damaged"))?;
    if width == 0 || height == 0 {
        return Err(format!("the picture is {width}×{height} pixels"));
    }
    if width > LONGEST_SIDE || height > LONGEST_SIDE {
        return Err(format!(
            "the picture is {width}×{height} pixels; at most {LONGEST_SIDE} on a side can be shown. Scale it down first"
        ));
    }
    Ok(())
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    Some((u32::from_be_bytes(array(bytes, 16)?), u32::from_be_bytes(array(bytes, 20)?)))
}

fn gif(bytes: &[u8]) -> Option<(u32, u32)> {
    Some((u16::from_le_bytes(array(bytes, 6)?).into(), u16::from_le_bytes(array(bytes, 8)?).into()))
}

/// Goes from segment to segment until the frame header (ITU T.81, B.2.2).
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let [mark, kind] = array(bytes, at)?;
        if mark != 0xff {
            return None;
        }
        match kind {
            // Fill bytes and segments without a length.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let height = u16::from_be_bytes(array(bytes, at + 5)?);
                let width = u16::from_be_bytes(array(bytes, at + 7)?);
                return Some((width.into(), height.into()));
            }
            _ => at += 2 + usize::from(u16::from_be_bytes(array(bytes, at + 2)?)),
        }
    }
}

/// The three forms of RFC 9649: lossy, lossless, extended.
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match &array::<4>(bytes, 12)? {
        b"VP8 " => {
            let side = |at| Some(u32::from(u16::from_le_bytes(array(bytes, at)?) & 0x3fff));
            Some((side(26)?, side(28)?))
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at| {
                let [low, middle, high] = array(bytes, at)?;
                Some(u32::from_le_bytes([low, middle, high, 0]) + 1)
            };
            Some((side(24)?, side(27)?))
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
