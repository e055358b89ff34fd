#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| glassgate_fuzz::capture(data));
