#include "calibration_body.h"

namespace sdc {

SDC_CALIBRATION_LEVEL(kPortableCalibration, , 4, 4)

}  // namespace sdc
