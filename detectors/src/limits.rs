//! What a scan may cost, and what is said when it would cost more.

/// Limits of one scan. A text beyond one of them is not examined in part: the scan fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text or document.
    pub bytes_max: usize,
    /// Nesting of one JSON document.
    pub depth_max: usize,
    /// JSON documents in strings of JSON documents.
    pub nested_json_max: usize,
    /// Encodings on top of each other, nested JSON included.
    pub layers_max: usize,
    /// Decoded bytes, all layers together, for each byte of the text.
    pub decoded_factor: usize,
    /// Bytes shown to expressions, for each byte of the text.
    pub work_factor: usize,
    /// Findings.
    pub findings_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 32 << 20,
            depth_max: 128,
            nested_json_max: 3,
            layers_max: 5,
            decoded_factor: 8,
            work_factor: 256,
            findings_max: 10_000,
        }
    }
}

/// Decoded and shown bytes that are free, so that the factors do not bite on small texts.
const FREE_BYTES: usize = 64 << 10;

/// The text could not be examined as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Over [`Limits::bytes_max`].
    #[error("the text has {seen} bytes, more than the {most} that are examined")]
    Bytes {
        /// Bytes of the text.
        seen: usize,
        /// The limit.
        most: usize,
    },
    /// Over [`Limits::depth_max`].
    #[error("the document is nested more than {most} deep")]
    Depth {
        /// The limit.
        most: usize,
    },
    /// Over [`Limits::layers_max`] or [`Limits::nested_json_max`].
    #[error("text is encoded more than {most} times")]
    Layers {
        /// The limit that was met.
        most: usize,
    },
    /// Over [`Limits::decoded_factor`].
    #[error("encoded text decodes to more than {most} bytes")]
    Decoded {
        /// The limit for this text.
        most: usize,
    },
    /// Over [`Limits::work_factor`].
    #[error("examining the text costs more than {most} bytes of comparisons")]
    Work {
        /// The limit for this text.
        most: usize,
    },
    /// Over [`Limits::findings_max`].
    #[error("there are more than {most} findings")]
    Findings {
        /// The limit.
        most: usize,
    },
    /// Not a JSON document.
    #[error("the document is not JSON from byte {at} on")]
    Json {
        /// Byte offset.
        at: usize,
    },
    /// Not UTF-8.
    #[error("the document is not UTF-8 from byte {at} on")]
    Utf8 {
        /// Byte offset.
        at: usize,
    },
}

impl ScanError {
    /// Stable name of the limit or fault.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bytes { .. } => "bytes",
            Self::Depth { .. } => "depth",
            Self::Layers { .. } => "layers",
            Self::Decoded { .. } => "decoded",
            Self::Work { .. } => "work",
            Self::Findings { .. } => "findings",
            Self::Json { .. } => "json",
            Self::Utf8 { .. } => "utf8",
        }
    }
}

/// Counts what a scan costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    shown: usize,
    shown_max: usize,
    decoded: usize,
    decoded_max: usize,
}

impl Work {
    pub(crate) const fn new(limits: &Limits, bytes: usize) -> Self {
        let shown = bytes.saturating_mul(limits.work_factor);
        let decoded = bytes.saturating_mul(limits.decoded_factor);
        Self {
            shown: 0,
            shown_max: shown.saturating_add(FREE_BYTES),
            decoded: 0,
            decoded_max: decoded.saturating_add(FREE_BYTES),
        }
    }

    /// Notes that `bytes` are about to be compared.
    pub(crate) const fn count(&mut self, bytes: usize) -> Result<(), ScanError> {
        self.shown = self.shown.saturating_add(bytes);
        if self.shown > self.shown_max {
            return Err(ScanError::Work { most: self.shown_max });
        }
        Ok(())
    }

    /// Notes that `bytes` were decoded.
    pub(crate) const fn decode(&mut self, bytes: usize) -> Result<(), ScanError> {
        self.decoded = self.decoded.saturating_add(bytes);
        if self.decoded > self.decoded_max {
            return Err(ScanError::Decoded { most: self.decoded_max });
        }
        Ok(())
    }

    /// Bytes compared so far.
    #[cfg(test)]
    pub(crate) const fn shown(&self) -> usize {
        self.shown
    }
}
