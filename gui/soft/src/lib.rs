//! Draws egui's triangles on the CPU, so that image tests of the window need neither a GPU nor a
//! display. One renderer, [`Soft`], for `egui_kittest`; it is exact enough that its pictures are
//! the same on every machine, and knows nothing that the window does not paint.

use std::collections::HashMap;

use egui::epaint::{ImageData, ImageDelta, Mesh, Primitive, Vertex};
use egui::{Color32, FullOutput, Pos2, Rect, TextureFilter, TextureId, TexturesDelta};
use image::RgbaImage;

/// A colour with premultiplied alpha, 0 to 255 in each channel.
type Rgba = [f32; 4];

/// The renderer: holds the textures that egui has uploaded.
#[derive(Default)]
pub struct Soft {
    textures: HashMap<TextureId, Texture>,
}

struct Texture {
    width: usize,
    height: usize,
    pixels: Vec<Color32>,
    nearest: bool,
}

impl Texture {
    fn new(delta: &ImageDelta) -> Self {
        let ImageData::Color(image) = &delta.image;
        Self {
            width: image.size[0],
            height: image.size[1],
            pixels: image.pixels.clone(),
            nearest: delta.options.magnification == TextureFilter::Nearest,
        }
    }

    /// Replaces the part at `at` by the picture in `delta`.
    fn patch(&mut self, at: [usize; 2], delta: &ImageDelta) {
        let ImageData::Color(image) = &delta.image;
        let [width, _] = image.size;
        for (row, line) in image.pixels.chunks_exact(width.max(1)).enumerate() {
            let start = (at[1] + row) * self.width + at[0];
            self.pixels[start..start + width].copy_from_slice(line);
        }
    }

    /// The texel at a position that may lie outside: the border goes on for ever.
    fn texel(&self, x: f32, y: f32) -> Rgba {
        let x = x.clamp(0.0, self.width as f32 - 1.0) as usize;
        let y = y.clamp(0.0, self.height as f32 - 1.0) as usize;
        self.pixels[y * self.width + x].to_array().map(f32::from)
    }

    /// The colour at `uv` (0 to 1 in both directions).
    fn sample(&self, uv: Pos2) -> Rgba {
        let (x, y) = (uv.x * self.width as f32, uv.y * self.height as f32);
        if self.nearest {
            return self.texel(x.floor(), y.floor());
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (dx, dy) = (x - left, y - top);
        let upper = mix(self.texel(left, top), self.texel(left + 1.0, top), dx);
        let lower = mix(
            self.texel(left, top + 1.0),
            self.texel(left + 1.0, top + 1.0),
            dx,
        );
        mix(upper, lower, dy)
    }
}

fn mix(a: Rgba, b: Rgba, t: f32) -> Rgba {
    std::array::from_fn(|i| a[i] * (1.0 - t) + b[i] * t)
}

/// The picture that is being painted.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgba>,
}

/// Pixels from `x0`, `y0` up to, but without, `x1`, `y1`.
#[derive(Clone, Copy)]
struct Area {
    x0: usize,
    y0: usize,
    x1: usize,
    y1: usize,
}

impl Canvas {
    /// The pixels of this canvas in `rect`, which is in pixels too.
    fn area(&self, rect: Rect) -> Area {
        let limit = |v: f32, most: usize| v.round().clamp(0.0, most as f32) as usize;
        Area {
            x0: limit(rect.min.x, self.width),
            y0: limit(rect.min.y, self.height),
            x1: limit(rect.max.x, self.width),
            y1: limit(rect.max.y, self.height),
        }
    }

    fn blend(&mut self, x: usize, y: usize, source: Rgba) {
        let under = &mut self.pixels[y * self.width + x];
        let through = 1.0 - source[3] / 255.0;
        for (channel, new) in under.iter_mut().zip(source) {
            *channel = new + *channel * through;
        }
    }

    fn mesh(&mut self, mesh: &Mesh, texture: &Texture, clip: Area, scale: f32) {
        for corners in mesh.indices.chunks_exact(3) {
            let corner = |n: usize| mesh.vertices[corners[n] as usize];
            if let Some(triangle) = Triangle::new([corner(0), corner(1), corner(2)], scale) {
                self.triangle(&triangle, texture, clip);
            }
        }
    }

    fn triangle(&mut self, triangle: &Triangle, texture: &Texture, clip: Area) {
        let bounds = triangle.bounds();
        let from = |v: f32, least: usize| (v.floor().max(0.0) as usize).max(least);
        let to = |v: f32, most: usize| (v.ceil().max(0.0) as usize).min(most);
        for y in from(bounds.min.y, clip.y0)..to(bounds.max.y, clip.y1) {
            for x in from(bounds.min.x, clip.x0)..to(bounds.max.x, clip.x1) {
                let centre = Pos2::new(x as f32 + 0.5, y as f32 + 0.5);
                if let Some(weights) = triangle.weights(centre) {
                    self.blend(x, y, triangle.colour(weights, texture));
                }
            }
        }
    }

    fn image(self) -> Result<RgbaImage, String> {
        let bytes = self
            .pixels
            .into_iter()
            .flat_map(|p| p.map(|c| c.round().clamp(0.0, 255.0) as u8))
            .collect();
        RgbaImage::from_raw(self.width as u32, self.height as u32, bytes)
            .ok_or_else(|| "the picture has no size".into())
    }
}

/// A triangle in pixels, its corners in the order that makes its area positive.
struct Triangle {
    at: [Pos2; 3],
    corners: [Vertex; 3],
    area: f32,
    /// Whether points exactly on the side opposite of each corner belong to it. Neighbours share
    /// a side in opposite directions, so that each pixel on it is painted once.
    owns_side: [bool; 3],
}

/// Twice the area of `a`, `b`, `p`; its sign says at which side of the line `p` lies.
fn side(a: Pos2, b: Pos2, p: Pos2) -> f32 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

impl Triangle {
    /// `None` if it has no area.
    fn new(mut corners: [Vertex; 3], scale: f32) -> Option<Self> {
        let place = |c: &[Vertex; 3]| [0, 1, 2].map(|n| (c[n].pos.to_vec2() * scale).to_pos2());
        let mut at = place(&corners);
        let mut area = side(at[0], at[1], at[2]);
        if area == 0.0 {
            return None;
        }
        if area < 0.0 {
            corners.swap(1, 2);
            at = place(&corners);
            area = -area;
        }
        let owns = |a: Pos2, b: Pos2| (a.y == b.y && b.x > a.x) || b.y < a.y;
        Some(Self {
            owns_side: [owns(at[1], at[2]), owns(at[2], at[0]), owns(at[0], at[1])],
            at,
            corners,
            area,
        })
    }

    fn bounds(&self) -> Rect {
        Rect::from_points(&self.at)
    }

    /// How much each corner counts at `p`; `None` outside.
    fn weights(&self, p: Pos2) -> Option<[f32; 3]> {
        let [a, b, c] = self.at;
        let sides = [side(b, c, p), side(c, a, p), side(a, b, p)];
        let inside = |n: usize| sides[n] > 0.0 || (sides[n] == 0.0 && self.owns_side[n]);
        (0..3)
            .all(inside)
            .then(|| sides.map(|side| side / self.area))
    }

    fn colour(&self, weights: [f32; 3], texture: &Texture) -> Rgba {
        let mut uv = Pos2::ZERO;
        let mut tint = [0.0; 4];
        for (corner, weight) in self.corners.iter().zip(weights) {
            uv += corner.uv.to_vec2() * weight;
            for (sum, channel) in tint.iter_mut().zip(corner.color.to_array()) {
                *sum += f32::from(channel) * weight;
            }
        }
        let texel = texture.sample(uv);
        std::array::from_fn(|n| tint[n] * texel[n] / 255.0)
    }
}

impl egui_kittest::TestRenderer for Soft {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        for (id, changes) in delta.set.drain() {
            for change in changes {
                match (change.pos, self.textures.get_mut(&id)) {
                    (Some(at), Some(texture)) => texture.patch(at, &change),
                    (Some(_), None) => panic!("part of a texture that was never uploaded"),
                    (None, _) => {
                        self.textures.insert(id, Texture::new(&change));
                    }
                }
            }
        }
        for id in delta.free.drain() {
            self.textures.remove(&id);
        }
    }

    fn render(&mut self, ctx: &egui::Context, out: &FullOutput) -> Result<RgbaImage, String> {
        let scale = out.pixels_per_point;
        let size = (ctx.content_rect().size() * scale).round();
        let (width, height) = (size.x as usize, size.y as usize);
        let mut canvas = Canvas {
            width,
            height,
            pixels: vec![[0.0; 4]; width * height],
        };
        for part in ctx.tessellate(out.shapes.clone(), scale) {
            let Primitive::Mesh(mesh) = part.primitive else {
                return Err("only triangles can be painted".into());
            };
            let texture = self
                .textures
                .get(&mesh.texture_id)
                .ok_or("a texture that was never uploaded")?;
            let clip = canvas.area(part.clip_rect * scale);
            canvas.mesh(&mesh, texture, clip, scale);
        }
        canvas.image()
    }
}
