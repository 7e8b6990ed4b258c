//! A channel's pictures in the terminal, with the line of numbers below them.
//!
//! The task's thread makes a small copy of a frame and is done with it; a thread of its own writes it to the terminal,
//! however long that takes. The process may end at any time without a word to this module, so between two pictures
//! nothing has to be put back: the cursor is shown, and stands below the line.

use crate::cli::Failure;
use crossterm::{cursor, execute, queue, terminal};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images};
use image::{DynamicImage, RgbImage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use ratatui::layout::{Rect, Size};
use ratatui::{Terminal, backend::CrosstermBackend, text::Line};
use ratatui_image::picker::{Picker, ProtocolType};
use ratatui_image::{FontSize, Resize, ResizeEncodeRender, protocol::StatefulProtocol};
use remotemedia_shm_schema::{ColourMatrix, ColourRange, Contract, VideoGeometry};
use remotemedia_worker::worker::{Task, TaskError};
use remotemedia_worker::{Frame, Picture};
use std::io::{self, BufWriter, IsTerminal, stdin, stdout};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

/// Between two pictures at least; those that come sooner are passed over (chosen: enough to see what moves).
const EVERY: Duration = Duration::from_millis(100);
/// Pixels of a picture at most: 1.6 MB as a terminal gets them, RGBA in base64 (chosen). Greater ones are scaled down.
const LARGEST: (f64, f64) = (640.0, 480.0);
/// Rows that a picture leaves free: the line's and the cursor's.
const BELOW: u16 = 2;
/// The end waits so long for a picture that is being written; a worker's threads have 200 ms in all.
const LAST_PICTURE: Duration = Duration::from_millis(100);

/// A picture, if there is a new one, and the line.
type News = (Option<DynamicImage>, String);

/// Shows pictures from [`Show::start`] on until it is dropped.
pub(super) struct Show {
    picker: Picker,
    cell: FontSize,
    thread: Option<(SyncSender<News>, Receiver<()>)>,
    due: Instant,
    line: String,
}

impl Show {
    /// Asks the terminal what it can show, which it answers on stdin: to be called before the process attaches.
    pub(super) fn new() -> Result<Self, Failure> {
        if !stdout().is_terminal() {
            let why = "--show needs a terminal, and stdout is none: --save FILE keeps the pictures";
            return Err(Failure::Wrong(why.into()));
        }
        let picker = ask();
        // Of half blocks a character has two, one upon the other.
        let halves = picker.protocol_type() == ProtocolType::Halfblocks;
        let cell = if halves { FontSize::new(1, 2) } else { picker.font_size() };
        Ok(Self { picker, cell, thread: None, due: Instant::now(), line: String::new() })
    }

    /// Starts the thread that writes, if the channel carries what can be shown.
    pub(super) fn start(&mut self, task: &Task) -> Result<(), TaskError> {
        if task.input.as_ref().is_none_or(|input| input.contract != Contract::RAW_VIDEO) {
            return Err(TaskError::failed("--show is for raw pictures: this channel has none"));
        }
        // No room: a picture is taken only by a thread that has nothing to write, so it is the newest. Others are passed
        // over and stand in no count: a tap makes do.
        let (news, coming) = sync_channel(0);
        let (running, ended) = channel::<()>();
        let (picker, cell) = (self.picker.clone(), self.cell);
        std::thread::spawn(move || {
            let _running = running; // dropped when the thread ends, however it does
            if let Err(error) = write(&picker, cell, &coming) {
                eprintln!("tap: cannot show pictures: {error}");
                super::end();
            }
        });
        self.thread = Some((news, ended));
        Ok(())
    }

    /// Shows a picture, if it is time for one.
    pub(super) fn picture(&mut self, frame: &Frame, now: Instant) {
        let Some(picture) = frame.picture().filter(|_| now >= self.due) else { return };
        self.due = now + EVERY;
        let Ok(terminal) = terminal::size() else { return };
        let size = fit((picture.geometry.width, picture.geometry.height), terminal, self.cell);
        self.send(size.and_then(|(width, height)| small(&picture, width, height)));
    }

    /// The line below the picture from now on.
    pub(super) fn tell(&mut self, line: String) {
        self.line = line;
        self.send(None);
    }

    fn send(&self, picture: Option<DynamicImage>) {
        if let Some((news, _)) = &self.thread {
            let _ = news.try_send((picture, self.line.clone()));
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some((news, ended)) = self.thread.take() {
            drop(news);
            let _ = ended.recv_timeout(LAST_PICTURE); // a terminal may take nothing (Ctrl-S)
        }
    }
}

/// What the terminal can show; half blocks where it does not tell.
fn ask() -> Picker {
    let Ok(before) = tcgetattr(stdin()) else { return Picker::halfblocks() };
    // Without an answer the library leaves a terminal that does not echo, and a thread that reads (ratatui-image#202,
    // mended in 12). Ctrl-C would leave the first as well, and must not be taken by the second: it is the main thread's.
    let held: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    let _ = held.thread_block();
    let picker = Picker::from_query_stdio().unwrap_or_else(|_| Picker::halfblocks());
    let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
    let _ = held.thread_unblock();
    picker
}

/// Writes what comes until the other end is dropped.
fn write(picker: &Picker, cell: FontSize, coming: &Receiver<News>) -> io::Result<()> {
    let mut screen = Terminal::new(CrosstermBackend::new(BufWriter::new(stdout())))?;
    let mut shown = picker.new_resize_protocol(DynamicImage::new_rgb8(1, 1));
    let (mut cells, mut line_at) = (Size::ZERO, 0);
    screen.resize(screen.size()?.into())?; // clears it, without asking where the cursor is
    while let Ok((picture, line)) = coming.recv() {
        if let Some(picture) = picture {
            let (all, natural) = (screen.size()?, Resize::natural_size(&picture, cell));
            // The terminal may have shrunk since the copy was made.
            let rows = natural.height.min(all.height.saturating_sub(BELOW));
            let fits = Size::new(natural.width.min(all.width), rows);
            if std::mem::replace(&mut cells, fits) != fits {
                // What a greater picture left is not in the cells that are compared.
                screen.resize(all.into())?;
            }
            // Under the same number: a terminal that keeps pictures (kitty's way) replaces the one before.
            shown = StatefulProtocol::new(picture, cell, None, shown.protocol_type().clone());
            shown.resize_encode(&Resize::Crop(None), cells); // not scaled again
            shown.last_encoding_result().unwrap_or(Ok(())).map_err(io::Error::other)?;
        }
        queue!(screen.backend_mut(), terminal::BeginSynchronizedUpdate, cursor::Hide)?;
        screen.draw(|frame| {
            let area = frame.area();
            shown.render(Rect::from(cells).intersection(area), frame.buffer_mut());
            line_at = cells.height.min(area.height.saturating_sub(BELOW));
            frame.render_widget(Line::raw(line), Rect { y: line_at, height: 1, ..area });
            frame.set_cursor_position((0, line_at + 1)); // and shows it
        })?;
        execute!(screen.backend_mut(), terminal::EndSynchronizedUpdate)?;
    }
    // What Ctrl-C wrote below the line goes; the last picture stays.
    let rest = terminal::Clear(terminal::ClearType::FromCursorDown);
    execute!(screen.backend_mut(), cursor::MoveTo(0, line_at + 1), rest)
}

/// The greatest size of the picture's shape that has room in the terminal, in pixels; no greater than the picture.
fn fit(picture: (u16, u16), terminal: (u16, u16), cell: FontSize) -> Option<(u32, u32)> {
    let wide = LARGEST.0.min(f64::from(terminal.0) * f64::from(cell.width));
    let high = LARGEST.1.min(f64::from(terminal.1.saturating_sub(BELOW)) * f64::from(cell.height));
    let (width, height) = (f64::from(picture.0), f64::from(picture.1));
    let scale = (wide / width).min(high / height).min(1.0);
    let side = |of: f64| (of * scale).round().max(1.0) as u32;
    (scale > 0.0).then(|| (side(width), side(height)))
}

/// A copy in RGB, of this size.
fn small(picture: &Picture<'_>, width: u32, height: u32) -> Option<DynamicImage> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut resizer = Resizer::new();
    let mut planes = [Vec::new(), Vec::new(), Vec::new()];
    for (index, plane) in planes.iter_mut().enumerate() {
        let (columns, rows) = picture.geometry.plane_size(index);
        // Without the strides' padding, which the scaler does not know.
        let packed = picture.rows(index).collect::<Vec<_>>().concat();
        let from = images::ImageRef::new(columns, rows, &packed, PixelType::U8).ok()?;
        let mut to = images::Image::new(width, height, PixelType::U8); // chroma as great as luma
        resizer.resize(&from, &mut to, &options).ok()?;
        *plane = to.into_vec();
    }
    RgbImage::from_raw(width, height, rgb(&planes, &picture.geometry)).map(DynamicImage::from)
}

/// By the definition of Y'CbCr; three planes of one size.
fn rgb([y, u, v]: &[Vec<u8>; 3], geometry: &VideoGeometry) -> Vec<u8> {
    // Red's and blue's share of luma: ITU-R BT.601, BT.709, BT.2020.
    let (kr, kb): (f32, f32) = match geometry.matrix {
        ColourMatrix::Unspecified | ColourMatrix::Bt601 => (0.299, 0.114),
        ColourMatrix::Bt709 => (0.2126, 0.0722),
        ColourMatrix::Bt2020 => (0.2627, 0.0593),
    };
    let (black, luma, chroma): (f32, f32, f32) = match geometry.range {
        ColourRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
        ColourRange::Full => (0.0, 1.0, 1.0),
    };
    let pixel = |((y, u), v): ((&u8, &u8), &u8)| -> [u8; 3] {
        let level = (f32::from(*y) - black) * luma;
        let red = level + 2.0 * (1.0 - kr) * chroma * (f32::from(*v) - 128.0);
        let blue = level + 2.0 * (1.0 - kb) * chroma * (f32::from(*u) - 128.0);
        let green = (level - kr * red - kb * blue) / (1.0 - kr - kb);
        [red, green, blue].map(|light| light.round() as u8) // the cast keeps within 0 to 255
    };
    y.iter().zip(u).zip(v).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_and_gets_as_great_as_the_terminal_allows() {
        let (halves, pixels) = (FontSize::new(1, 2), FontSize::new(10, 20));
        for (picture, terminal, cell, size) in [
            ((1280, 720), (80, 24), halves, Some((78, 44))),
            ((720, 1280), (80, 24), halves, Some((25, 44))),
            ((64, 36), (200, 60), halves, Some((64, 36))),
            ((1280, 720), (200, 60), pixels, Some((640, 360))),
            ((1280, 720), (20, 24), pixels, Some((200, 113))),
            ((4096, 16), (1, 3), halves, Some((1, 1))),
            ((1280, 720), (80, 2), halves, None),
        ] {
            assert_eq!(fit(picture, terminal, cell), size, "{picture:?} in {terminal:?}");
        }
    }

    #[test]
    fn colours_come_out_as_they_were_meant() {
        for (matrix, range, yuv, meant) in [
            (ColourMatrix::Bt601, ColourRange::Limited, [81, 90, 240], [255, 0, 0]),
            (ColourMatrix::Bt709, ColourRange::Limited, [63, 102, 240], [255, 0, 0]),
            (ColourMatrix::Bt2020, ColourRange::Full, [255, 128, 128], [255; 3]),
        ] {
            let geometry = VideoGeometry { matrix, range, ..VideoGeometry::i420(33, 17) };
            let mut payload = vec![0_u8; geometry.payload_len()];
            for (plane, value) in geometry.planes.iter().zip(yuv) {
                payload[plane.offset as usize..].fill(value);
            }
            let picture = Picture::over(&payload, geometry).unwrap();
            let image = small(&picture, 16, 8).unwrap().to_rgb8();
            assert_eq!(image.dimensions(), (16, 8));
            let near = |(is, meant): (&u8, &u8)| is.abs_diff(*meant) <= 2;
            let same = |pixel: &image::Rgb<u8>| pixel.0.iter().zip(&meant).all(near);
            assert!(image.pixels().all(same), "{matrix:?} {range:?}: {:?}", image.get_pixel(0, 0));
        }
    }
}
