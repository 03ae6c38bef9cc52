//! thin thread
use std::sync::{Arc, OnceLock};
use dropwatch::{attach::load, ingest::{decode::{Decoder, Event}, live::Live}, kernel::{btf::{KernelBtf, vmlinux_path}, reasons::Reasons, symbols::Symbols}};
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    env_logger::init();
    let t = std::time::Instant::now();
    let btf = KernelBtf::open(&vmlinux_path())?;
    eprintln!("btf-rs {:?}", t.elapsed());
    let aya_btf = aya::Btf::parse_file(vmlinux_path(), aya::Endianness::default())?;
    eprintln!("aya {:?}", t.elapsed());
    let reasons = Reasons::from_btf(&btf);
    let mut attached = load::attach(&btf, &aya_btf, &reasons, &load::Settings { ring_bytes: 1<<20, budget: 100, ..Default::default() })?;
    eprintln!("attached {:?}", t.elapsed());
    eprintln!("{:#?}", attached.coverage);
    let symbols = Arc::new(OnceLock::new());
    let _ = symbols.set(Symbols::read());
    eprintln!("symbols {:?}", t.elapsed());
    let decoder = Decoder::new(reasons, symbols, btf.returns_enum("ip_route_input_noref"));
    let mut live = Live::new(&mut attached.ebpf)?;
    loop {
        live.ready().await?;
        live.drain(100, |bytes| match decoder.entry(bytes) {
            Some(Event::Drop(d)) => println!("{} {:?} {} {:?} {}", d.netns, d.dev, d.reason.text(), d.location.text(), d.packet.as_ref().map(|p| p.to_string()).unwrap_or_default()),
            other => println!("{other:?}"),
        });
    }
}
