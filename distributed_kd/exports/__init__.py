"""What a device runs: a policy of a run written as a file, checked against the policy before the file is put in place."""

SAFETENSORS, ONNX, INT8, TORCH = "safetensors", "onnx", "onnx-int8", "torch-export"
ENDINGS = {SAFETENSORS: ".safetensors", ONNX: ".onnx", INT8: ".onnx", TORCH: ".pt2"}
"""The formats by name, and how the names of their files end"""
ABOUT = {
    SAFETENSORS: "the parameters, as a teacher or a start of other runs: FILE.safetensors",
    ONNX: "for any machine with ONNX Runtime: FILE.onnx",
    INT8: "the same in 8-bit integers, its score measured beside the policy's: FILE.onnx",
    TORCH: "for PyTorch without distributed_kd: FILE.pt2",
}
