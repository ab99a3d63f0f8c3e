//! A picture from the clipboard as a file that can be sent.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::ColorImage;

use crate::app::App;
use crate::elsewhere::Done;

/// Pictures that were pasted are kept so long, to be sent again.
const KEPT_DAYS: u64 = 7;

/// Most of them.
const KEPT_MAX: usize = 500;

impl App {
    /// Writes the picture to a file and stages that: a large one takes its time.
    pub(crate) fn stage_picture(&mut self, picture: Arc<ColorImage>) {
        let folder = self.outside.scratch.clone();
        self.elsewhere(move || {
            let written = write(&folder, &picture);
            Some(match written {
                Ok(path) => {
                    let bytes = path.metadata().ok().map(|meta| meta.len());
                    let found = vec![crate::model::Staged { path, bytes }];
                    Done::Looked {
                        found,
                        missing: Vec::new(),
                    }
                }
                Err(error) => Done::Said(format!("The picture could not be kept: {error}.")),
            })
        });
    }
}

fn write(folder: &Path, picture: &ColorImage) -> io::Result<PathBuf> {
    peerconnect::config::create_private_dir(folder)?;
    forget_old(folder);
    let (path, file) = (1..=KEPT_MAX)
        .find_map(|n| {
            let path = folder.join(format!("Pasted picture {n}.png"));
            let file = File::create_new(&path).ok()?;
            Some((path, file))
        })
        .ok_or_else(|| io::Error::other("no name is free"))?;
    let [width, height] = picture.size;
    let size = |side: usize| u32::try_from(side).map_err(io::Error::other);
    let mut encoder = png::Encoder::new(BufWriter::new(file), size(width)?, size(height)?);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let bytes: Vec<u8> = picture
        .pixels
        .iter()
        .flat_map(|p| p.to_srgba_unmultiplied())
        .collect();
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&bytes).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)?;
    Ok(path)
}

/// Removes pictures of earlier weeks. What cannot be removed stays.
fn forget_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry
            .metadata()
            .ok()
            .and_then(|meta| meta.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age.as_secs() > KEPT_DAYS * 86_400) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
