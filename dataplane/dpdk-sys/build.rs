//! Generates the bindings to the system's libdpdk, compiles the shim and says what to link.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The long-term release that Debian 12 carries. Fields of `rte_eth_dev_info` and `rte_mbuf` move between
/// releases: another one is a port, with its own tests, not a wider range.
const VERSIONS: std::ops::Range<&str> = "22.11".."22.12";

/// What the bindings and the shim call. With dynamic linking the EAL loads the drivers itself at start.
const LIBRARIES: [&str; 5] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"];

/// What those and the drivers call in turn, needed by name only when linking statically.
const STATIC_LIBRARIES: &[&str] = &[
    "rte_cryptodev",
    "rte_gso",
    "rte_hash",
    "rte_kvargs",
    "rte_meter",
    "rte_net",
    "rte_pci",
    "rte_rcu",
    "rte_security",
    "rte_telemetry",
];

/// The drivers of the static build: virtual ones, and NICs that need nothing beyond the kernel's vfio or uio. Mellanox
/// (mlx5) is not among them: it brings in rdma-core. Use the dynamic build for it.
const STATIC_DRIVERS: &[&str] = &[
    "rte_bus_pci",
    "rte_bus_vdev",
    "rte_common_iavf",
    "rte_mempool_ring",
    "rte_net_af_packet",
    "rte_net_af_xdp",
    "rte_net_e1000",
    "rte_net_i40e",
    "rte_net_iavf",
    "rte_net_ice",
    "rte_net_igc",
    "rte_net_ixgbe",
    "rte_net_null",
    "rte_net_pcap",
    "rte_net_ring",
    "rte_net_tap",
    "rte_net_virtio",
    "rte_net_vmxnet3",
];

/// What static DPDK calls outside of itself, linked dynamically.
const STATIC_NEEDS: &[&str] = &["bpf", "bsd", "numa", "pcap", "xdp"];

/// Functions that the safe crate calls, one by one: every further match costs seconds of compile time, and each
/// name here is one that somebody has read the contract of.
const FUNCTIONS: &[&str] = &[
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_get_runtime_dir",
    "rte_eal_init",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_stats_reset",
    "rte_eth_tx_queue_setup",
    "rte_log_cur_msg_loglevel",
    "rte_log_set_global_level",
    "rte_mempool_avail_count",
    "rte_openlog_stream",
    "rte_pktmbuf_pool_create",
    "rte_thread_register",
    "rte_thread_unregister",
    "shim_.*",
];

/// What benchmarks compare with: DPDK's own hash table.
const REFERENCE: &[&str] = &["rte_hash_add_key", "rte_hash_create", "rte_hash_free", "rte_hash_lookup_bulk"];

const TYPES: &[&str] =
    &["rte_mbuf", "rte_eth_conf", "rte_eth_dev_info", "rte_eth_link", "rte_eth_stats", "rte_mempool"];

const CONSTANTS: &[&str] = &[
    "SHIM_.*",
    "LCORE_ID_ANY",
    "RTE_ETH_LINK_.*",
    "RTE_ETH_SPEED_NUM_UNKNOWN",
    "RTE_ETHER_CRC_LEN",
    "RTE_ETHER_HDR_LEN",
    "RTE_MAX_LCORE",
    "RTE_MBUF_DEFAULT_BUF_SIZE",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_PKTMBUF_HEADROOM",
    "SOCKET_ID_ANY",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows the standard error of a build script that failed, below its own heading.
            eprintln!("\n{message}\n");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for file in ["build.rs", "csrc/bindings.h", "csrc/shim.h", "csrc/shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let dpdk = Dpdk::find()?;
    clang_sys::load().map_err(|reason| {
        format!(
            "libclang is missing, which bindgen needs to read DPDK's headers.\n\
             Install it: apt-get install libclang-dev clang\n({reason})"
        )
    })?;
    dpdk.bindings(&out.join("bindings.rs"))?;
    dpdk.shim()?;
    dpdk.link();
    Ok(())
}

/// The DPDK of this system, as pkg-config describes it.
struct Dpdk {
    flags: Vec<String>,
    link_paths: Vec<PathBuf>,
}

impl Dpdk {
    fn find() -> Result<Self, String> {
        let library = pkg_config::Config::new()
            .range_version(VERSIONS)
            .cargo_metadata(false)
            .probe("libdpdk")
            .map_err(|error| explain_missing(&error))?;
        let mut flags: Vec<String> =
            library.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
        // The crate keeps -I and -D only. DPDK's headers also need `-include rte_config.h` and the instruction set
        // that its inline functions are written in.
        let output = pkg_config_command()
            .args(["--cflags-only-other", "libdpdk"])
            .output()
            .map_err(|error| format!("pkg-config does not run: {error}"))?;
        flags.extend(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned));
        // Left out by pkg-config where the linker looks anyway, but rustc itself looks for static libraries.
        let mut link_paths = library.link_paths;
        link_paths.extend(pkg_config::get_variable("libdpdk", "libdir").ok().map(PathBuf::from));
        Ok(Self { flags, link_paths })
    }

    fn bindings(&self, to: &Path) -> Result<(), String> {
        let mut builder = bindgen::Builder::default()
            .header("csrc/bindings.h")
            .clang_args(&self.flags)
            .use_core()
            // A Debug of a packed struct with bit fields takes references to unaligned fields: does not compile.
            .derive_debug(false)
            .derive_default(true)
            .layout_tests(true)
            .generate_comments(false)
            .default_enum_style(bindgen::EnumVariation::ModuleConsts)
            // The tile registers of AMX come in with the intrinsics headers; Rust has no such type.
            .blocklist_type("__tile1024i.*|_tile1024i")
            // C thread-locals would become plain statics, the same one for all threads. See shim_errno.
            .blocklist_item("per_lcore_.*")
            .parse_callbacks(Box::new(bindgen::CargoCallbacks::new().rerun_on_header_files(false)));
        for function in FUNCTIONS {
            builder = builder.allowlist_function(function);
        }
        if reference() {
            builder = builder.clang_arg("-DGLASSGATE_REFERENCE");
            for function in REFERENCE {
                builder = builder.allowlist_function(function);
            }
        }
        for name in TYPES {
            builder = builder.allowlist_type(name);
        }
        for name in CONSTANTS {
            builder = builder.allowlist_var(name);
        }
        let bindings = builder.generate().map_err(|error| {
            format!("bindgen can't read DPDK's headers: {error}\nInstall: apt-get install clang libdpdk-dev")
        })?;
        bindings.write_to_file(to).map_err(|error| format!("{}: {error}", to.display()))
    }

    fn shim(&self) -> Result<(), String> {
        let mut build = cc::Build::new();
        build.file("csrc/shim.c").opt_level(3).define("ALLOW_EXPERIMENTAL_API", None).warnings(false);
        for flag in &self.flags {
            build.flag(flag);
        }
        build.try_compile("glassgate_dpdk_shim").map_err(|error| {
            format!("the C shim does not compile: {error}\nA C compiler is needed: apt-get install gcc")
        })
    }

    fn link(&self) {
        for path in &self.link_paths {
            println!("cargo::rustc-link-search=native={}", path.display());
        }
        if env::var_os("CARGO_FEATURE_STATIC").is_none() {
            for library in LIBRARIES {
                println!("cargo::rustc-link-lib=dylib={library}");
            }
            if reference() {
                println!("cargo::rustc-link-lib=dylib=rte_hash");
            }
            return;
        }
        // Not `pkg-config --static`, which asks for everything any driver of the distribution might need. Drivers
        // announce themselves from constructors, which a linker drops unless told to take the archive whole.
        // `-bundle` leaves the archives to the final link instead of copying them into the rlib.
        for library in LIBRARIES.iter().chain(STATIC_LIBRARIES).chain(STATIC_DRIVERS) {
            println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={library}");
        }
        for library in STATIC_NEEDS {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
}

fn reference() -> bool {
    env::var_os("CARGO_FEATURE_REFERENCE").is_some()
}

fn explain_missing(error: &pkg_config::Error) -> String {
    if let pkg_config::Error::Command { .. } = error {
        return "pkg-config is missing.\nInstall it: apt-get install pkg-config".to_owned();
    }
    let found = match installed_version() {
        Some(version) => format!("version {version} is installed instead"),
        None => "pkg-config does not know libdpdk".to_owned(),
    };
    format!(
        "DPDK {} with its headers is missing: {found}.\n\
         Install it on Debian 12: apt-get install libdpdk-dev pkg-config\n\
         Everything but the live ports builds without it: cargo build -p glassgate --no-default-features",
        VERSIONS.start
    )
}

fn installed_version() -> Option<String> {
    let output = pkg_config_command().args(["--modversion", "libdpdk"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn pkg_config_command() -> Command {
    Command::new(env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()))
}
