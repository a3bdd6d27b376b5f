//! Which documents are images, which are lists, and which are tricks.

use super::*;

fn descriptor(media_type: &str) -> String {
    let digest = Digest::of(b"x");
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1}}"#)
}

fn manifest(layer: &str) -> String {
    let (config, layer) = (descriptor(OCI_CONFIG), descriptor(layer));
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
}

#[test]
fn both_dialects_are_images() {
    for layer in [
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        OCI_LAYER,
    ] {
        let parsed = Document::parse(manifest(layer).as_bytes()).unwrap();
        assert!(matches!(parsed, Document::Image(_)));
    }
}

#[test]
fn a_document_that_is_two_things_is_refused() {
    let both = manifest(OCI_LAYER).replace("\"config\"", "\"manifests\":[],\"config\"");
    assert!(matches!(
        Document::parse(both.as_bytes()),
        Err(RecordError::Ambiguous)
    ));
    let lying = manifest(OCI_LAYER).replace(
        "\"schemaVersion\"",
        &format!("\"mediaType\":\"{OCI_INDEX}\",\"schemaVersion\""),
    );
    let refused = Document::parse(lying.as_bytes());
    assert!(
        matches!(refused, Err(RecordError::Unsupported { .. })),
        "{refused:?}"
    );
}

#[test]
fn foreign_encrypted_and_ancient_documents_are_unsupported() {
    for layer in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    ] {
        let refused = Document::parse(manifest(layer).as_bytes());
        let Err(RecordError::Unsupported { media_type, .. }) = refused else {
            panic!("{layer}: {refused:?}")
        };
        assert_eq!(media_type, layer);
    }
    let schema1 = r#"{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[]}"#;
    assert!(matches!(
        Document::parse(schema1.as_bytes()),
        Err(RecordError::Unsupported { .. })
    ));
    assert!(matches!(
        Document::parse(b"<html>"),
        Err(RecordError::Malformed { .. })
    ));
}

#[test]
fn too_many_layers_are_refused() {
    let layers = vec![descriptor(OCI_LAYER); LAYERS_MAX + 1].join(",");
    let config = descriptor(OCI_CONFIG);
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
    assert!(matches!(
        Document::parse(text.as_bytes()),
        Err(RecordError::TooMany { .. })
    ));
}

#[test]
fn the_platform_is_chosen_by_this_machine() {
    let entry = |os: &str, architecture: &str, variant: Option<&str>| Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: Digest::of(format!("{os}{architecture}{variant:?}").as_bytes()),
        size: 1,
        platform: Some(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }),
        annotations: BTreeMap::new(),
    };
    let entries = [
        entry("windows", "amd64", None),
        entry("linux", "arm", Some("v7")),
        entry("linux", "amd64", Some("v3")),
        entry("linux", "amd64", None),
        entry("linux", "arm64", Some("v8")),
    ];
    let host = |architecture: &str| Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
    };
    assert_eq!(choose(&entries, &host("amd64")).unwrap(), &entries[3]);
    assert_eq!(choose(&entries, &host("arm64")).unwrap(), &entries[4]);
    let Err(RecordError::NoPlatform { wanted, offered }) = choose(&entries, &host("riscv64"))
    else {
        panic!("riscv64 is not offered")
    };
    assert_eq!(wanted, "linux/riscv64");
    assert!(
        offered.contains("linux/arm/v7") && offered.contains("windows/amd64"),
        "{offered}"
    );
}
