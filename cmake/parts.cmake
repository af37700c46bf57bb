# parts.cmake: parts of the library that a build may leave out (engine/parts.h, docs/sizes.md). Of what is left out the
# sources are not compiled; VITRINE_WITHOUT_<PART> tells the others.
option(VITRINE_TRAINING "Gradients, optimizers and tuning; without it a build only predicts" ON)
option(VITRINE_RUNS "Data sets and whole runs on them: loops, sweeps, tables, reports; without it one tunes step by step" ${VITRINE_TRAINING})
option(VITRINE_DIALECTS "Checkpoints with other programs' names and layouts; without it Vitrine's own files alone" ON)
option(VITRINE_CONTAINERS "Checkpoints in files of PyTorch and numpy; without it safetensors alone" ON)
option(VITRINE_DECODERS "Decode JPEG, PNG and BMP (needs turbojpeg and stb); without it pictures are pixels" ${VITRINE_FILES})
option(VITRINE_DEVICE "The border to a GPU's library; without it the CPU alone" ON)
option(VITRINE_STATIC "Link the program with static libraries alone" OFF)
option(VITRINE_F64 "Nets that compute in f64, with which gradients are checked; without it f32 alone" ON)

function(vitrine_needs part other why)
  if(VITRINE_${part} AND NOT VITRINE_${other})
    message(FATAL_ERROR "VITRINE_${part}=ON needs VITRINE_${other}=ON: ${why}")
  endif()
endfunction()
vitrine_needs(RUNS TRAINING "a run tunes")
vitrine_needs(RUNS F64 "its reports compute in f64")
vitrine_needs(DECODERS FILES "they are there for the files of data sets")
vitrine_needs(CUDA DEVICE "a GPU's library is opened through it")
if(VITRINE_CONTAINERS AND NOT VITRINE_DIALECTS)
  message(FATAL_ERROR "VITRINE_CONTAINERS=ON needs VITRINE_DIALECTS=ON: what lies in files of PyTorch and numpy has other "
                      "programs' names")
endif()
foreach(part TRAINING RUNS DIALECTS F64 CONTAINERS DECODERS DEVICE)
  vitrine_needs(TESTS ${part} "they test all parts (tests/size_test.sh tests builds without)")
endforeach()
foreach(part TRAINING RUNS DIALECTS F64)
  vitrine_needs(EXAMPLES ${part} "the program tunes on data sets")
endforeach()

# The library's sources, in VITRINE_SOURCES.
file(GLOB VITRINE_SOURCES CONFIGURE_DEPENDS engine/*.cpp engine/containers/*.cpp engine/gpu/*.cpp engine/ops/*.cpp engine/cpu/*.cpp
     engine/cpu/kernels/portable.cpp nn/*.cpp models/*.cpp models/checkpoints/*.cpp models/training/*.cpp data/*.cpp)
if(NOT VITRINE_RUNS)  # of data and training what a single step takes
  list(FILTER VITRINE_SOURCES EXCLUDE REGEX "/(data|models/training)/[^/]*$")
  foreach(kept data/image data/preprocess data/presets data/resize data/hugging_face data/decode data/png data/stb data/no_decoders
               models/training/tuner models/training/pictures models/training/pretrained models/training/own_file
               models/training/hub_config models/training/timm_config)
    list(APPEND VITRINE_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/${kept}.cpp)
  endforeach()
endif()
# What a part consists of, and what stands in for it where it is left out.
function(vitrine_part part pattern stand_in)
  if(VITRINE_${part})
    set(pattern ${stand_in})
  else()
    list(APPEND VITRINE_LEFT_OUT VITRINE_WITHOUT_${part}=1)
    set(VITRINE_LEFT_OUT ${VITRINE_LEFT_OUT} PARENT_SCOPE)
  endif()
  list(FILTER VITRINE_SOURCES EXCLUDE REGEX "/(${pattern})\\.cpp$")
  set(VITRINE_SOURCES ${VITRINE_SOURCES} PARENT_SCOPE)
endfunction()
set(VITRINE_LEFT_OUT)
set(none "no such file")
vitrine_part(TRAINING "engine/autograd|nn/optimizer|models/training/tuner" "engine/no_autograd")
vitrine_part(DIALECTS "models/checkpoints/.*|models/training/(pretrained|hub_config|timm_config)|data/hugging_face"
             "models/training/own_file")
vitrine_part(CONTAINERS "engine/containers/(npy|pickle|state|torch_file|torch_tensors|zip)" ${none})
vitrine_part(DECODERS "data/(decode|png|stb)" "data/no_decoders")
vitrine_part(DEVICE "engine/gpu/run" "engine/gpu/no_run")
vitrine_part(F64 ${none} ${none})
