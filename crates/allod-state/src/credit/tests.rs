//! Tests stand in `tests/it`.
