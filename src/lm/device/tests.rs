//! Operations on candle's processor against those on slices.
