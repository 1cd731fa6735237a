// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "list-credentials",
    platforms: [.macOS(.v26)],
    dependencies: [
        .package(name: "pawl", path: "../.."),
        .package(
            url: "https://github.com/apple/swift-argument-parser", .upToNextMinor(from: "1.8.0")),
    ],
    targets: [
        .executableTarget(
            name: "list-credentials",
            dependencies: [
                .product(name: "Pawl", package: "pawl"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Sources/ListCredentials")
    ],
    swiftLanguageModes: [.v6]
)
