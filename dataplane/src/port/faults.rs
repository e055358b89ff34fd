//! A port that injects faults.
