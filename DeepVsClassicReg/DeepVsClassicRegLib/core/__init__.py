"""The library of DeepVsClassicReg without Slicer: images, transforms, engines, evaluation."""
